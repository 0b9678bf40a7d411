package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// day and week are 24 and 168 hours, whatever a clock change does to a date.
const (
	day  = 24 * time.Hour
	week = 7 * day
)

var durationPart = regexp.MustCompile(`^(\d+)(\.\d+)?\s*([a-zµ]+)\s*`)

func durationUnit(name string) (time.Duration, bool) {
	switch name {
	case "w", "week", "weeks":
		return week, true
	case "d", "day", "days":
		return day, true
	case "h", "hour", "hours":
		return time.Hour, true
	case "m", "min", "minute", "minutes":
		return time.Minute, true
	case "s", "sec", "second", "seconds":
		return time.Second, true
	case "ms":
		return time.Millisecond, true
	case "us", "µs":
		return time.Microsecond, true
	case "ns":
		return time.Nanosecond, true
	}
	return 0, false
}

// ParseDuration reads a duration as people write it: "5m", "1h30m", "2d",
// "1.5h", "10 minutes"; larger units come first. A bare number other than 0,
// a negative one and one above 290 years are errors, which say what to write.
func ParseDuration(text string) (time.Duration, error) {
	rest := strings.TrimSpace(text)
	if rest == "" {
		return 0, fmt.Errorf(`a duration is empty; write it like "5m"`)
	}
	if rest == "0" {
		return 0, nil
	}
	if _, err := strconv.ParseFloat(rest, 64); err == nil {
		return 0, fmt.Errorf(`duration %q has no unit; write it like "%ss" or "5m"`, text, strings.TrimLeft(rest, "+-"))
	}
	if strings.HasPrefix(rest, "-") {
		return 0, fmt.Errorf("duration %q is negative", text)
	}
	var sum time.Duration
	last := time.Duration(math.MaxInt64)
	for rest != "" {
		m := durationPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, fmt.Errorf(`duration %q is not a duration; write it like "5m", "1h30m" or "2d"`, text)
		}
		unit, ok := durationUnit(m[3])
		if !ok {
			return 0, fmt.Errorf("duration %q has the unknown unit %q; there are s, m, h, d and w, and ms", text, m[3])
		}
		if unit >= last {
			return 0, fmt.Errorf(`duration %q names its units out of order; write it like "1h30m"`, text)
		}
		last = unit
		part, ok := partOf(m[1], m[2], unit)
		if !ok || sum > math.MaxInt64-part {
			return 0, fmt.Errorf("duration %q is too long", text)
		}
		sum += part
		rest = rest[len(m[0]):]
	}
	return sum, nil
}

// partOf is whole and fraction (".5" or "") times unit; false when it does not
// fit.
func partOf(whole, fraction string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) {
		return 0, false
	}
	part := time.Duration(n) * unit
	if fraction == "" {
		return part, true
	}
	f, err := strconv.ParseFloat("0"+fraction, 64)
	if err != nil {
		return 0, false
	}
	extra := time.Duration(math.Round(f * float64(unit)))
	if part > math.MaxInt64-extra {
		return 0, false
	}
	return part + extra, true
}

// FormatDuration writes a duration as people write it: "5m", never "5m0s";
// "1h30m", "2d", "0s". ParseDuration reads it back as the same duration; a
// negative one gets a minus sign and is for people only.
func FormatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		if d == math.MinInt64 {
			d++ // a nanosecond in 292 years
		}
		b.WriteByte('-')
		d = -d
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{
		{day, "d"},
		{time.Hour, "h"},
		{time.Minute, "m"},
		{time.Second, "s"},
		{time.Millisecond, "ms"},
		{time.Microsecond, "us"},
		{time.Nanosecond, "ns"},
	} {
		if n := d / u.unit; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteString(u.name)
			d %= u.unit
		}
	}
	return b.String()
}
