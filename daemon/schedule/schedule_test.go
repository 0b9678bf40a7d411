package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestNext(t *testing.T) {
	t.Parallel()
	five, err := Every(5 * time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	cron := func(expression string) Schedule {
		s, err := Cron(expression, "Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	nightly, often := cron("30 2 * * *"), cron("*/30 * * * *")
	for _, c := range []struct {
		name            string
		s               Schedule
		last, now, want string
	}{
		{"interval", five, "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", "2026-01-01T00:05:00Z"},
		{"missed ticks make one run", five, "2026-01-01T00:00:00Z", "2026-01-01T08:00:00Z", "2026-01-01T00:05:00Z"},
		{"a clock that was set back", five, "2026-01-01T09:00:00Z", "2026-01-01T08:00:00Z", "2026-01-01T08:00:00Z"},
		{"cron in its zone", nightly, "2026-01-10T12:00:00Z", "2026-01-10T12:00:00Z", "2026-01-11T01:30:00Z"},
		{"the hour that daylight saving skips", nightly, "2026-03-28T12:00:00Z", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"},
		{"the hour that comes twice", nightly, "2026-10-24T12:00:00Z", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"and that is over", nightly, "2026-10-25T00:30:00Z", "2026-10-25T00:31:00Z", "2026-10-26T01:30:00Z"},
		{"and in which it comes again", nightly, "2026-10-25T01:10:00Z", "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"},
		{"every hour, that one too", often, "2026-10-25T00:30:00Z", "2026-10-25T00:31:00Z", "2026-10-25T01:00:00Z"},
		{"the hour behind it", cron("0 3 * * *"), "2026-10-25T00:30:00Z", "2026-10-25T00:31:00Z", "2026-10-25T02:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.s.Next(at(c.last), at(c.now)); !got.Equal(at(c.want)) {
				t.Fatalf("next is %s, want %s", got, c.want)
			}
		})
	}
	if got := five.Next(time.Time{}, at("2026-01-01T00:00:00Z")); !got.Equal(at("2026-01-01T00:00:00Z")) {
		t.Fatalf("the first run is due at %s", got)
	}
}

func TestBadSchedules(t *testing.T) {
	t.Parallel()
	if _, err := Every(999 * time.Millisecond); err == nil {
		t.Error("an interval below a second is taken")
	}
	if _, err := Cron("* * *", ""); err == nil {
		t.Error("a cron expression of three fields is taken")
	}
	if _, err := Cron("* * * * *", "Moon/Sea"); err == nil {
		t.Error("an unknown zone is taken")
	}
}

// Whatever the clock does, asked again and again, a schedule fires: once a
// period, and once more where the clock was set back.
func TestNextFiresAfterAnyJump(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, err := Every(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		now, last, jumps, fired := at("2026-01-01T00:00:00Z"), time.Time{}, 0, 0
		for range 600 {
			if now = now.Add(time.Second); rapid.IntRange(0, 199).Draw(t, "jump") == 0 {
				now = now.Add(time.Duration(rapid.Int64Range(-36000, 36000).Draw(t, "by")) * time.Second)
				jumps++
			}
			if !s.Next(last, now).After(now) {
				last = now
				fired++
			}
		}
		if fired < 10-jumps || fired > 11+jumps {
			t.Fatalf("fired %d times in ten minutes with %d jumps", fired, jumps)
		}
	})
}

// Nothing is due before a period has passed since the last start.
func TestNextNeverFiresTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(1, 1e5).Draw(t, "seconds")) * time.Second
		s, err := Every(every)
		if err != nil {
			t.Fatal(err)
		}
		now := at("2026-01-01T00:00:00Z")
		last := now.Add(time.Duration(rapid.Int64Range(-1e6, 0).Draw(t, "ago")) * time.Second)
		next := s.Next(last, now)
		if next.Sub(last) != every {
			t.Fatalf("next %s after %s at %s", next, last, now)
		}
	})
}
