package store

import (
	"encoding/binary"
)

// Times are text, as HubSpot sent them; those in its usual forms are kept as
// their distance from the record's version, which is one of them. The tag says
// which form brings the same text back.
const (
	noTime = iota
	withMillis
	withSeconds
	otherTime
)

const (
	layoutMillis  = "2006-01-02T15:04:05.000Z"
	layoutSeconds = "2006-01-02T15:04:05Z"
)

func appendTime(b []byte, s string, version int64) []byte {
	if s == "" {
		return append(b, noTime)
	}
	ms, ok := parseTime(s)
	switch {
	case ok && len(s) == len(layoutMillis):
		return binary.AppendVarint(append(b, withMillis), ms-version)
	case ok:
		return binary.AppendVarint(append(b, withSeconds), ms-version)
	}
	return appendText(append(b, otherTime), s)
}

func (r *reader) time(version int64) string {
	tag := r.take(1)
	if r.bad {
		return ""
	}
	switch tag[0] {
	case noTime:
		return ""
	case withMillis:
		return r.date(layoutMillis, r.varint()+version)
	case withSeconds:
		return r.date(layoutSeconds, r.varint()+version)
	case otherTime:
		return r.text()
	}
	r.bad = true
	return ""
}

// The first and the last moment that parseTime reads.
const (
	minTime = -62167219200000 // 0000-01-01T00:00:00.000Z
	maxTime = 253402300799999 // 9999-12-31T23:59:59.999Z
)

func (r *reader) date(layout string, ms int64) string {
	if ms < minTime || ms > maxTime {
		r.bad = true
		return ""
	}
	return formatTime(layout, ms)
}

// parseTime reads one of the two forms; ok is false for what formatTime would
// not write in just that way. It does what time.Parse does at a tenth of its
// cost, which was more than that of all the rest of a head.
func parseTime(s string) (ms int64, ok bool) {
	if len(s) != len(layoutMillis) && len(s) != len(layoutSeconds) {
		return 0, false
	}
	for i := range len(s) - 1 {
		c, like := s[i], layoutMillis[i]
		if like >= '0' && like <= '9' {
			if c < '0' || c > '9' {
				return 0, false
			}
		} else if c != like {
			return 0, false
		}
	}
	if s[len(s)-1] != 'Z' {
		return 0, false
	}
	two := func(i int) int64 { return int64(s[i]-'0')*10 + int64(s[i+1]-'0') }
	year, month, day := two(0)*100+two(2), two(5), two(8)
	hour, minute, second := two(11), two(14), two(17)
	if month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	if len(s) == len(layoutMillis) {
		ms = two(20)*10 + int64(s[22]-'0')
	}
	days := daysTo(year, month, day)
	if y, m, d := dateOf(days); y != year || m != month || d != day {
		return 0, false // a day that the month does not have
	}
	return ((days*24+hour)*60+minute)*60_000 + second*1000 + ms, true
}

// formatTime is the inverse of parseTime, for times from minTime to maxTime.
func formatTime(layout string, ms int64) string {
	days := ms / 86_400_000
	if ms %= 86_400_000; ms < 0 {
		ms += 86_400_000
		days--
	}
	year, month, day := dateOf(days)
	var b [len(layoutMillis)]byte
	copy(b[:], layout)
	two := func(i int, v int64) { b[i], b[i+1] = byte('0'+v/10), byte('0'+v%10) }
	two(0, year/100)
	two(2, year%100)
	two(5, month)
	two(8, day)
	two(11, ms/3_600_000)
	two(14, ms/60_000%60)
	two(17, ms/1000%60)
	if layout == layoutMillis {
		b[20] = byte('0' + ms%1000/100)
		two(21, ms%100)
	}
	return string(b[:len(layout)])
}

// Days since 1970 in the Gregorian calendar, by eras of 400 years that begin
// in March, so that the leap day is the last of its year.
const (
	eraDays   = 146_097
	epochDays = 719_468 // from 0000-03-01 to 1970-01-01
)

func daysTo(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	era := floor(year, 400)
	ofEra := year - era*400
	ofYear := (153*(month-3)+2)/5 + day - 1
	return era*eraDays + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - epochDays
}

func dateOf(days int64) (year, month, day int64) {
	days += epochDays
	era := floor(days, eraDays)
	ofEra := days - era*eraDays
	year = (ofEra - ofEra/1460 + ofEra/36_524 - ofEra/146_096) / 365
	ofYear := ofEra - (365*year + year/4 - year/100)
	month = (5*ofYear + 2) / 153
	day = ofYear - (153*month+2)/5 + 1
	year += era * 400
	if month += 3; month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
