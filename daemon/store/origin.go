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

// The byte of an origin: the number of its road, and how its run is named.
const (
	roadBits  = 31
	runNumber = 1 << 5
	runText   = 1 << 6
)

// appendOrigins writes who brought the rows that are not gone: how many, by whom,
// until all are named.
func (b *block) appendOrigins(dst []byte) []byte {
	before := uint64(0)
	for i := 0; i < len(b.rows); {
		n, by := 0, b.by[b.rows[i].by]
		for ; i < len(b.rows) && (b.rows[i].gone || b.by[b.rows[i].by] == by); i++ {
			if !b.rows[i].gone {
				n++
			}
		}
		if n == 0 {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(n))
		road, _ := by.Road.Number()
		number, ok := numberOfRun(by.Run)
		switch {
		case ok:
			dst = binary.AppendVarint(append(dst, road|runNumber), int64(number-before))
			before = number
		case by.Run != "":
			dst = appendText(append(dst, road|runText), by.Run)
		default:
			dst = append(dst, road)
		}
	}
	return dst
}

// readOrigins is the inverse of appendOrigins; r is bad where they do not fit the
// rows.
func (b *block) readOrigins(r *reader) {
	before := uint64(0)
	for i := 0; i < len(b.rows) && !r.bad; {
		n := r.uvarint()
		tag := r.take(1)
		if r.bad || n == 0 || n > uint64(len(b.rows)-i) || len(b.by) > math.MaxUint16 {
			r.bad = true
			return
		}
		road, ok := stream.RoadOf(tag[0] & roadBits)
		by := stream.Origin{Road: road}
		switch tag[0] &^ roadBits {
		case 0:
		case runNumber:
			before += uint64(r.varint())
			by.Run = runID(before)
		case runText:
			by.Run = r.text()
		default:
			ok = false
		}
		if !ok {
			r.bad = true
			return
		}
		b.by = append(b.by, by)
		for range n {
			b.rows[i].by = uint16(len(b.by) - 1)
			i++
		}
	}
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
