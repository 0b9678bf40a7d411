package e2e

import (
	"fmt"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestPictures makes the documents' pictures of the dashboard from the program
// itself: `make pictures`.
func TestPictures(t *testing.T) {
	dir := os.Getenv("HUBPIPE_PICTURES")
	if dir == "" {
		t.Skip("HUBPIPE_PICTURES names no folder for them")
	}
	dir = filepath.Join("../..", dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, "--contacts", "150000", "--companies", "9000", "--deals", "4000", "--tickets", "900", "--objects", "products=300", "--change-rate", "20")
	s.configure(settings{streams: []string{"contacts", "companies", "deals", "tickets", "products", "owners", "campaigns", "forms", "lists"}})
	s.replace(`interval = "1s"`, `interval = "20s"`)
	s.more("stream \"quotes\" { autostart = false }\n")
	if code, body := fetch(t, http.MethodPost, s.sim+"/_simulator/faults", `{"scopes_missing":{"campaigns":["marketing.campaigns.read"]}}`, ""); code/100 != 2 {
		t.Fatal(code, body)
	}
	s.daemon()
	s.worker("--name", "berlin-1")
	x := newTerminal(t, s.dir, 140, 36, inTerminal(s.bin+" tui --addr "+s.http), "HUBPIPE_TOKEN="+s.token(), "TERM=tmux-256color", "COLORTERM=truecolor")
	x.shows("* live", "campaigns", "blocked", "deals")
	waited := time.Now()
	until(t, "something to see", func() error {
		if d := time.Since(waited); d < 75*time.Second {
			return fmt.Errorf("only %s of rates", d)
		}
		return nil
	})
	x.types("j", "j", "space")
	x.shows("1 marked")
	picture(t, x, filepath.Join(dir, "dashboard.svg"), 140)
	x.types("g")
	x.shows("> campaigns")
	x.types("Enter")
	x.shows("LAST ERROR", "RECENT RUNS")
	picture(t, x, filepath.Join(dir, "stream.svg"), 140)
}

// Sizes of a cell in a picture.
const (
	cellWidth  = 8.4
	cellHeight = 18
)

// style is how the terminal draws what follows.
type style struct {
	fg                        string
	bold, faint, turned, rule bool
}

// picture writes what a terminal shows as SVG.
func picture(t *testing.T, x *terminal, path string, columns int) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(x.do("capture-pane", "-p", "-e", "-N"), "\n"), "\n")
	w, h := float64(columns)*cellWidth+24, len(lines)*cellHeight+24
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" viewBox="0 0 %.0f %d" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", paper)
	var now style
	for i, line := range lines {
		column := 0
		for line != "" {
			if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
				codes, after, _ := strings.Cut(rest, "m")
				now, line = now.with(codes), after
				continue
			}
			text, rest := line, ""
			if j := strings.IndexByte(line, '\x1b'); j >= 0 {
				text, rest = line[:j], line[j:]
			}
			now.draw(&b, text, column, i)
			column, line = column+utf8.RuneCountInString(text), rest
		}
	}
	b.WriteString("</svg>\n")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Colours of the picture's terminal.
const (
	paper = "#1b1d23"
	inked = "#d5d8df"
)

func palette() [16]string {
	return [16]string{"#1b1d23", "#e06c75", "#8cc570", "#e0b35a", "#6ba6ee", "#c58af9", "#5cc2c8", "#d5d8df",
		"#7a808c", "#ff7a85", "#a3e07f", "#ffd06b", "#86bcff", "#d9a6ff", "#78dde3", "#ffffff"}
}

// with is the style after codes.
func (s style) with(codes string) style {
	for code := range strings.SplitSeq(codes, ";") {
		n, _ := strconv.Atoi(code) // none is 0
		switch {
		case n == 0:
			s = style{}
		case n == 1:
			s.bold = true
		case n == 2:
			s.faint = true
		case n == 4:
			s.rule = true
		case n == 7:
			s.turned = true
		case n == 39:
			s.fg = ""
		case n >= 30 && n < 38:
			s.fg = palette()[n-30]
		case n >= 90 && n < 98:
			s.fg = palette()[n-90+8]
		}
	}
	return s
}

func (s style) draw(b *strings.Builder, text string, column, row int) {
	ink, n := s.fg, utf8.RuneCountInString(text)
	if ink == "" {
		ink = inked
	}
	x, y := 12+float64(column)*cellWidth, 12+row*cellHeight
	if s.turned {
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", x, y, float64(n)*cellWidth, cellHeight, ink)
		ink = paper
	}
	if strings.TrimSpace(text) == "" {
		return
	}
	more := ""
	if s.bold {
		more += ` font-weight="bold"`
	}
	if s.faint {
		more += ` fill-opacity="0.55"`
	}
	if s.rule {
		more += ` text-decoration="underline"`
	}
	// Blocks are drawn, not written: a font that lacks them takes them from one of
	// another width, and what stands beside them moves.
	letters := []rune(text)
	for i := 0; i < len(letters); {
		from := i
		for i < len(letters) && !isBlock(letters[i]) {
			i++
		}
		if part := string(letters[from:i]); strings.TrimSpace(part) != "" {
			fmt.Fprintf(b, `<text x="%.1f" y="%d" fill="%s" textLength="%.1f" xml:space="preserve"%s>%s</text>`+"\n", x+float64(from)*cellWidth, y+14, ink,
				float64(i-from)*cellWidth, more, html.EscapeString(part))
		}
		for ; i < len(letters) && isBlock(letters[i]); i++ {
			high := cellHeight * float64(letters[i]-'▁'+1) / 8
			fmt.Fprintf(b, `<rect x="%.1f" y="%.2f" width="%.1f" height="%.2f" fill="%s"/>`+"\n", x+float64(i)*cellWidth, float64(y)+cellHeight-high, cellWidth, high, ink)
		}
	}
}

func isBlock(r rune) bool { return r >= '▁' && r <= '█' }
