package store

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Who brought a record is kept beside it in its block, and not in the index: to
// judge a reading nobody needs it. Records that one run brought lie together, so
// it is said once for as many as follow one another.

// origins are who brought a version, and who its properties.
type origins struct{ by, read stream.Origin }

// known tells whether both came on roads that have a number.
func (o origins) known() bool {
	_, by := o.by.Road.Number()
	_, read := o.read.Road.Number()
	return by && read
}

// The byte of an origin: the number of its road, how its run is named, and whether
// another one follows, which brought the properties.
const (
	roadBits  = 31
	runNumber = 1 << 5
	runText   = 1 << 6
	readApart = 1 << 7
)

// appendOrigins writes who brought the rows that are not gone: how many, by whom,
// until all are named.
func (b *block) appendOrigins(dst []byte) []byte {
	before := uint64(0)
	for i := 0; i < len(b.rows); {
		n, o := 0, b.by[b.rows[i].by]
		for ; i < len(b.rows) && (b.rows[i].gone || b.by[b.rows[i].by] == o); i++ {
			if !b.rows[i].gone {
				n++
			}
		}
		if n == 0 {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(n))
		if o.read == o.by {
			dst, before = appendOrigin(dst, o.by, 0, before)
			continue
		}
		dst, before = appendOrigin(dst, o.by, readApart, before)
		dst, before = appendOrigin(dst, o.read, 0, before)
	}
	return dst
}

// appendOrigin writes one; before is the number of the run that was named before,
// and what is returned that of the one that is named last now.
func appendOrigin(dst []byte, o stream.Origin, bits byte, before uint64) (_ []byte, last uint64) {
	road, _ := o.Road.Number()
	number, ok := numberOfRun(o.Run)
	switch {
	case ok:
		return binary.AppendVarint(append(dst, road|bits|runNumber), int64(number-before)), number
	case o.Run != "":
		return appendText(append(dst, road|bits|runText), o.Run), before
	}
	return append(dst, road|bits), before
}

// readOrigins is the inverse of appendOrigins; r is bad where they do not fit the
// rows.
func (b *block) readOrigins(r *reader) {
	before := uint64(0)
	for i := 0; i < len(b.rows) && !r.bad; {
		n := r.uvarint()
		if n == 0 || n > uint64(len(b.rows)-i) || len(b.by) > math.MaxUint16 {
			r.bad = true
			return
		}
		var o origins
		var apart bool
		if o.by, apart = r.origin(&before); apart {
			o.read, apart = r.origin(&before)
			r.bad = r.bad || apart
		} else {
			o.read = o.by
		}
		b.by = append(b.by, o)
		for range n {
			b.rows[i].by = uint16(len(b.by) - 1)
			i++
		}
	}
}

// origin reads one, and tells whether another follows.
func (r *reader) origin(before *uint64) (o stream.Origin, apart bool) {
	tag := r.take(1)
	if r.bad {
		return o, false
	}
	road, ok := stream.RoadOf(tag[0] & roadBits)
	if o.Road = road; !ok {
		r.bad = true
	}
	switch tag[0] & (runNumber | runText) {
	case 0:
	case runNumber:
		*before += uint64(r.varint())
		o.Run = runID(*before)
	case runText:
		o.Run = r.text()
	default:
		r.bad = true
	}
	return o, tag[0]&readApart != 0
}

// runDigits is how many digits a run's id has at least.
const runDigits = 12

// runID names a run by its number; ids sort in the order of the numbers.
func runID(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	const zeros = "000000000000"
	return "r" + zeros[:max(0, runDigits-len(digits))] + digits
}

// numberOfRun is the inverse of runID.
func numberOfRun(id string) (n uint64, ok bool) {
	if len(id) <= runDigits || id[0] != 'r' {
		return 0, false
	}
	n, err := strconv.ParseUint(id[1:], 10, 64)
	return n, err == nil && (len(id) == 1+runDigits || id[1] != '0')
}
