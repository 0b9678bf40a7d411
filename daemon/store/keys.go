package store

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Keys, by their first byte. A stream's name is preceded by its length, so
// that no name is the beginning of another's range.
const (
	kFeed   = 'f' // stream, seq: a record, head and body
	kIndex  = 'i' // stream, id: the record's head
	kCount  = 'c' // stream: counts
	kDict   = 'd' // stream, number: dictionary
	kStream = 's' // stream: ledger
	kSchema = 'p' // stream: definitions
	kRun    = 'r' // run id
	kRange  = 'g' // run id, range
	kWorker = 'w'
	kPortal = 'o'
	kMeta   = 'm'
)

func streamKey(kind byte, name string) []byte {
	k := make([]byte, 0, 2+len(name)+24)
	k = append(k, kind, byte(len(name)))
	return append(k, name...)
}

func feedKey(name string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(streamKey(kFeed, name), seq)
}

// indexKey keeps ids that are numbers as 8 bytes, in their order, and others
// as text behind them.
func indexKey(name, id string) []byte {
	return appendID(streamKey(kIndex, name), id)
}

func appendID(k []byte, id string) []byte {
	if n, err := strconv.ParseUint(id, 10, 64); err == nil && strconv.FormatUint(n, 10) == id {
		return binary.BigEndian.AppendUint64(append(k, 0), n)
	}
	return append(append(k, 1), id...)
}

func textKey(kind byte, text string) []byte { return append([]byte{kind}, text...) }

func rangeKey(run string, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(textKey(kRange, run), '/'), id)
}

var errHead = errors.New("a record's head does not decode")

// states numbers them as they are stored; the order must never change.
var states = [...]stream.State{stream.Live, stream.Archived, stream.Purged, stream.Merged} //nolint:gochecknoglobals // a constant table

// appendHead writes a head without its id, which the key or the caller knows.
func appendHead(b []byte, h *stream.Head) []byte {
	state := byte(0)
	for i, s := range states {
		if s == h.State {
			state = byte(i)
		}
	}
	b = append(b, 1, state) // format
	b = binary.AppendUvarint(b, h.Seq)
	b = binary.AppendVarint(b, h.Version)
	b = binary.AppendVarint(b, h.AsOf)
	b = append(b, h.Digest[:]...)
	b = binary.AppendUvarint(b, uint64(h.List))
	b = binary.AppendVarint(b, h.Synced)
	for _, s := range []string{h.CreatedAt, h.UpdatedAt, h.ArchivedAt, h.MergedInto} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// readHead returns what follows the head.
func readHead(b []byte, h *stream.Head) ([]byte, error) {
	if len(b) < 2 || b[0] != 1 || int(b[1]) >= len(states) {
		return nil, errHead
	}
	h.State = states[b[1]]
	r := reader{b: b[2:]}
	h.Seq = r.uvarint()
	h.Version = r.varint()
	h.AsOf = r.varint()
	copy(h.Digest[:], r.take(uint64(len(h.Digest))))
	h.List = uint32(r.uvarint())
	h.Synced = r.varint()
	for _, s := range []*string{&h.CreatedAt, &h.UpdatedAt, &h.ArchivedAt, &h.MergedInto} {
		*s = string(r.take(r.uvarint()))
	}
	if r.bad {
		return nil, errHead
	}
	return r.b, nil
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
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
