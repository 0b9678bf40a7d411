// Package schedule says when a stream is due. It is pure: times come in, times
// go out, and nobody waits here.
package schedule

import (
	"fmt"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule is an interval or a cron expression.
type Schedule struct {
	every time.Duration
	cron  cron.Schedule
	zone  *time.Location
}

// MinInterval is the shortest interval accepted.
const MinInterval = time.Second

// Every returns a schedule with a fixed interval, at least MinInterval.
func Every(d time.Duration) (Schedule, error) {
	if d < MinInterval {
		return Schedule{}, fmt.Errorf("interval %s is shorter than %s", d, MinInterval)
	}
	return Schedule{every: d}, nil
}

// Cron returns a schedule of five fields in the named time zone ("" is UTC).
func Cron(expression, zone string) (Schedule, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return Schedule{}, fmt.Errorf("time zone %q: %w", zone, err)
	}
	c, err := cron.ParseStandard(expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("cron %q: %w", expression, err)
	}
	return Schedule{cron: c, zone: loc}, nil
}

// Next returns when the run after the one that started at last is due; a zero
// last is due at once. Ticks that were missed meanwhile make one run: the
// answer may lie in the past, and is never more than one period behind last.
// After a clock was set back over last, the run is due at once: nobody knows how
// long ago the last one was.
func (s Schedule) Next(last, now time.Time) time.Time {
	if last.IsZero() || last.After(now) {
		return now
	}
	if s.cron == nil {
		return last.Add(s.every)
	}
	next := s.cron.Next(last.In(s.zone))
	for s.ofHours() && repeated(next) {
		next = s.cron.Next(next)
	}
	return next.UTC()
}

// everyHour are the hours of a cron expression that names none.
const everyHour = 1<<24 - 1

// ofHours tells whether a cron expression names hours. What it says of one comes
// once a day, also on that on which the clock shows it twice.
func (s Schedule) ofHours() bool {
	spec, ok := s.cron.(*cron.SpecSchedule)
	return ok && spec.Hour&everyHour != everyHour
}

// longestShift is more than any clock is set back at the end of a summer.
const longestShift = 3 * time.Hour

// repeated tells whether the clock showed the same before: it was set back since.
func repeated(t time.Time) bool {
	_, before := t.Add(-longestShift).Zone()
	_, offset := t.Zone()
	if before <= offset {
		return false
	}
	_, then := t.Add(time.Duration(offset-before) * time.Second).Zone()
	return then == before
}

// Interval is the fixed interval, 0 for a cron schedule.
func (s Schedule) Interval() time.Duration { return s.every }
