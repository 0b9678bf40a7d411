package destination

import (
	"strconv"
	"time"
)

// Moment reads a time as HubSpot writes it: RFC 3339, a day, or milliseconds
// since 1970. Years have four digits, and there is no year 0.
func Moment(v []byte) (time.Time, bool) {
	s := string(v)
	if len(s) < len(time.DateOnly) || len(s) > 40 {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil && len(s) == len(time.DateOnly) {
		t, err = time.Parse(time.DateOnly, s)
	}
	if err != nil {
		ms, errNumber := strconv.ParseInt(s, 10, 64)
		if errNumber != nil || ms < -62135596800000 || ms > 253402300799999 {
			return time.Time{}, false
		}
		t = time.UnixMilli(ms)
	}
	t = t.UTC()
	return t, t.Year() >= 1 && t.Year() <= 9999
}
