package store

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

var errHead = errors.New("a record's head does not decode")

// headFormat is the first byte of every head.
const headFormat = 1

// stateAt numbers the states on disk; numbers are never used again.
func stateAt() [4]stream.State {
	return [...]stream.State{stream.Live, stream.Archived, stream.Purged, stream.Merged}
}

// appendHead writes a head without its id, which the key or the caller knows.
func appendHead(b []byte, h *stream.Head) ([]byte, error) {
	states := stateAt()
	state := slices.Index(states[:], h.State)
	if state < 0 {
		return nil, errors.New("a record in no known state: " + string(h.State))
	}
	b = append(b, headFormat, byte(state))
	b = binary.AppendUvarint(b, h.Seq)
	b = binary.AppendVarint(b, h.Version)
	b = binary.AppendVarint(b, h.AsOf)
	b = append(b, h.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(h.List))
	b = binary.AppendVarint(b, h.Synced)
	for _, s := range []string{h.CreatedAt, h.UpdatedAt, h.ArchivedAt} {
		b = appendTime(b, s)
	}
	return appendText(b, h.MergedInto), nil
}

// readHead reads a head and returns what follows it.
func readHead(b []byte, h *stream.Head) ([]byte, error) {
	states := stateAt()
	if len(b) < 2 || b[0] != headFormat || int(b[1]) >= len(states) {
		return nil, errHead
	}
	h.State = states[b[1]]
	r := reader{b: b[2:]}
	h.Seq = r.uvarint()
	h.Version = r.varint()
	h.AsOf = r.varint()
	copy(h.Digest[:], r.take(uint64(len(h.Digest))))
	list := r.uvarint()
	if list > math.MaxUint32 {
		return nil, errHead
	}
	h.List = uint32(list)
	h.Synced = r.varint()
	for _, s := range []*string{&h.CreatedAt, &h.UpdatedAt, &h.ArchivedAt} {
		*s = r.time()
	}
	h.MergedInto = r.text()
	if r.bad {
		return nil, errHead
	}
	return r.b, nil
}

// Times are text, as HubSpot sent them; those in its usual forms take 7 bytes
// instead of 24. The tag says which form brings the same text back.
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

func appendTime(b []byte, s string) []byte {
	if s == "" {
		return append(b, noTime)
	}
	tag, layout := byte(withMillis), layoutMillis
	if len(s) == len(layoutSeconds) {
		tag, layout = withSeconds, layoutSeconds
	}
	if t, err := time.Parse(layout, s); err == nil && t.Format(layout) == s {
		return binary.AppendVarint(append(b, tag), t.UnixMilli())
	}
	return appendText(append(b, otherTime), s)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes values off a slice; after the first that does not decode it is
// bad, and gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() string { return string(r.take(r.uvarint())) }

func (r *reader) time() string {
	tag := r.take(1)
	if r.bad {
		return ""
	}
	switch tag[0] {
	case noTime:
		return ""
	case withMillis:
		return time.UnixMilli(r.varint()).UTC().Format(layoutMillis)
	case withSeconds:
		return time.UnixMilli(r.varint()).UTC().Format(layoutSeconds)
	case otherTime:
		return r.text()
	}
	r.bad = true
	return ""
}
