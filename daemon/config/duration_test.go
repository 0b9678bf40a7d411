package config

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1w": 168 * time.Hour, "0": 0, "0s": 0,
		" 10 minutes ": 10 * time.Minute, "1 hour 30 min": 90 * time.Minute, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond,
		"1d12h": 36 * time.Hour, "0.5s": 500 * time.Millisecond, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "empty", "  ": "empty", "300": "no unit", "1.5": "no unit", "-5m": "negative", "-5": "no unit", "5x": `unknown unit "x"`,
		"5M": "not a duration", "m": "not a duration", "5m5m": "out of order", "30m1h": "out of order", "often": "not a duration",
		"106752d": "too long", "99999999999999999999s": "too long", "106751d24h": "too long", "5m!": "not a duration",
		"NaN": "no unit", "1e3s": "unknown unit", "٥m": "not a duration",
	} {
		if got, err := ParseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, %v; want an error with %q", text, got, err, want)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 5 * time.Minute: "5m", 90 * time.Minute: "1h30m", 75 * time.Minute: "1h15m", 48 * time.Hour: "2d", 36 * time.Hour: "1d12h",
		time.Second: "1s", 1500 * time.Millisecond: "1s500ms", -5 * time.Minute: "-5m", time.Microsecond: "1us",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
	if got := FormatDuration(math.MinInt64); !strings.HasPrefix(got, "-106751d") {
		t.Errorf("the shortest of all is %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "d"))
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Fatalf("%d is written %q and read as %d, %v", d, FormatDuration(d), got, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	f.Add("1h30m")
	f.Add("99999999999.9d1ns")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if d < 0 || err != nil && d != 0 {
			t.Fatalf("%q is %d, %v", text, d, err)
		}
	})
}

func TestSizesAndPercentages(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{"1MiB": 1 << 20, "512 KiB": 512 << 10, "2MB": 2_000_000, "4096": 4096, "1gib": 1 << 30, "7B": 7} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1MiB", "1.5MiB", "1 potato", "99999999999999999999", "9223372036854775807KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	for s, want := range map[Size]string{0: "0B", 7: "7B", 1 << 20: "1MiB", 320 << 10: "320KiB", 1500: "1500B"} {
		if got := s.String(); got != want {
			t.Errorf("%d is %q, want %q", s, got, want)
		}
	}
	for text, want := range map[string]float64{"20%": 0.2, "2 %": 0.02, "0%": 0, "100%": 1, "0.5%": 0.005} {
		if got, err := ParsePercent(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "%", "20", "-1%", "101%", "NaN%", "Inf%", "x%"} {
		if got, err := ParsePercent(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"contacts", "companies", "deals", "tickets", "url"}
	for name, want := range map[string]string{"contcats": "contacts", "contact": "contacts", "company": "", "deal": "deals",
		"ulr": "url", "x": "", "": "", "Deals": "deals", "tick": "tickets", "dealss": "deals", "products": ""} {
		if got := nearest(name, names); got != want {
			t.Errorf("%q: did you mean %q, want %q", name, got, want)
		}
	}
}
