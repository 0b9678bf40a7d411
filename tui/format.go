package tui

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// clean keeps what comes from outside from moving the cursor: all that is not
// seen becomes a space.
func clean(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return strings.Map(func(r rune) rune {
				if r == utf8.RuneError || !unicode.IsGraphic(r) {
					return ' '
				}
				return r
			}, s)
		}
	}
	return s
}

// width is how many cells text takes.
func width(s string) int {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return ansi.StringWidth(s)
		}
	}
	return len(s)
}

// fit makes plain text exactly n cells wide, cut with ~ where it is longer.
func fit(s string, n int) string {
	if n <= 0 {
		return ""
	}
	w := width(s)
	if w > n {
		s = ansi.Truncate(s, n, "~")
		w = width(s)
	}
	if w < n {
		s += spaces(n - w)
	}
	return s
}

// right is fit with the text at the right.
func right(s string, n int) string {
	if w := width(s); w < n {
		return spaces(n-w) + s
	}
	return fit(s, n)
}

const blank = "                                                                                                                                "

func spaces(n int) string {
	if n <= 0 {
		return ""
	}
	if n <= len(blank) {
		return blank[:n]
	}
	return strings.Repeat(" ", n)
}

// thousands writes a count as people read it.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	if len(s) <= 3 {
		return s
	}
	out := make([]byte, 0, len(s)+len(s)/3)
	for i := range len(s) {
		if i > 0 && (len(s)-i)%3 == 0 {
			out = append(out, ',')
		}
		out = append(out, s[i])
	}
	return string(out)
}

// short writes a count in five cells: 999, 12.3k, 182k, 4.1M.
func short(n uint64) string {
	f := float64(n)
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if f >= unit.size {
			if f /= unit.size; f < 99.95 {
				return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0") + unit.name
			}
			return strconv.FormatFloat(f, 'f', 0, 64) + unit.name
		}
	}
	return strconv.FormatUint(n, 10)
}

// sizeText writes bytes as people read them: 999 B, 12.3 kB, 4.1 MB.
func sizeText(n uint64) string {
	s := short(n)
	if last := len(s) - 1; s[last] > '9' {
		return s[:last] + " " + s[last:] + "B"
	}
	return s + " B"
}

// age writes a span by its two greatest units: 41s, 2m10s, 3h12m, 1d2h.
func age(d time.Duration) string {
	d = max(d, 0)
	s := int64(d / time.Second)
	switch {
	case s < 60:
		return strconv.FormatInt(s, 10) + "s"
	case s < 3600:
		return two(s/60, "m", s%60, "s")
	case s < 86400:
		return two(s/3600, "h", s%3600/60, "m")
	}
	return two(s/86400, "d", s%86400/3600, "h")
}

func two(a int64, au string, b int64, bu string) string {
	if b == 0 {
		return strconv.FormatInt(a, 10) + au
	}
	return strconv.FormatInt(a, 10) + au + strconv.FormatInt(b, 10) + bu
}

// span reads an interval as the API writes it, 0 where it is none. Its days are
// what time.ParseDuration does not know.
func span(text string) time.Duration {
	days := 0
	if n, rest, ok := strings.Cut(text, "d"); ok {
		days, _ = strconv.Atoi(n)
		text = "0s" + rest
	}
	d, _ := time.ParseDuration(text)
	return time.Duration(days)*24*time.Hour + d
}

// clock is how long something lasts, as a watch shows it.
func clock(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// moment is a time in UTC, with its day where that is not today.
func moment(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05Z")
	}
	return t.Format("2006-01-02 15:04Z")
}

// spark draws values as blocks, the greatest as high as it goes; without
// blocks, in ASCII.
func spark(values []float64, cells int, blocks bool) string {
	glyphs := []rune(" .:-=+*#")
	if blocks {
		glyphs = []rune("▁▂▃▄▅▆▇█")
	}
	top := 0.0
	sums := make([]float64, cells)
	for i := range cells {
		from, to := i*len(values)/cells, (i+1)*len(values)/cells
		for _, v := range values[from:max(to, from)] {
			sums[i] += v
		}
		if to > from {
			sums[i] /= float64(to - from)
		}
		top = max(top, sums[i])
	}
	var b strings.Builder
	b.Grow(cells * 3)
	for _, v := range sums {
		g := 0
		if v > 0 {
			g = 1 + int(v/top*float64(len(glyphs)-2)+0.5)
		}
		b.WriteRune(glyphs[min(g, len(glyphs)-1)])
	}
	return b.String()
}

// bar shows a share of a whole.
func bar(share float64, cells int) string {
	n := min(max(int(share*float64(cells)+0.5), 0), cells)
	return strings.Repeat("#", n) + strings.Repeat("-", cells-n)
}

// wrapText breaks plain text into lines of at most n cells.
func wrapText(s string, n int) []string {
	if n < 1 {
		return nil
	}
	return strings.Split(ansi.Wrap(s, n, ""), "\n")
}
