package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/s2"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

const (
	// maxDict bounds a dictionary. Above it, what more samples save is less
	// than what dictionaries of many streams cost in memory.
	maxDict = 48 << 10
	// samples is how many records a dictionary is made of at most, and
	// maxSample how much of each: large records must not leave room for one.
	samples   = 32
	maxSample = maxDict / 4
	// dictPiece keeps a dictionary in the tree: in the value log, one bad byte
	// before it would take all the records that need it.
	dictPiece = valueThreshold - 32
	// maxBody is the most that a body may unfold to; pages are bounded far
	// below. It is against a damaged length, which would be allocated.
	maxBody = 64 << 20
)

// What a body is, by its first byte.
const (
	noBody = iota
	rawBody
	packedBody // the dictionary's number, and an s2 block
)

var errBody = errors.New("a record's body does not decode")

// codec compresses bodies. The records of a stream repeat the names of their
// properties and many values, so each stream has a dictionary, made of the
// first records with a property list; with another list comes another
// dictionary. Old ones stay: records refer to them. With a dictionary of many
// records s2 comes within a few per cent of zstd, at a quarter of its time.
type codec struct {
	// known are all dictionaries; the map is replaced when one joins.
	known atomic.Pointer[map[uint32]*s2.Dict]

	// The rest is the writer's alone.
	current map[string]dictionary
	sampled map[string][]byte
	taken   map[string]int // records in sampled
	last    uint32
	buf     []byte
}

// dictionary is the one in use by a stream: its number, and the generation of
// the property list that it was made for.
type dictionary struct{ number, list uint32 }

func newCodec() *codec {
	c := &codec{current: map[string]dictionary{}, sampled: map[string][]byte{}, taken: map[string]int{}}
	c.known.Store(&map[uint32]*s2.Dict{})
	return c
}

func openCodec(txn *badger.Txn) (*codec, error) {
	c := newCodec()
	raw := map[uint32][]byte{}
	err := scan(txn, []byte{kDict}, true, func(key []byte, item *badger.Item) error {
		name, rest, ok := nameOf(key)
		if !ok || len(rest) != 10 {
			return errors.New("a dictionary's key does not decode")
		}
		d := dictionary{binary.BigEndian.Uint32(rest), binary.BigEndian.Uint32(rest[4:])}
		value, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("read a dictionary of %s: %w", name, err)
		}
		raw[d.number] = append(raw[d.number], value...)
		c.last = max(c.last, d.number)
		if d.number >= c.current[name].number {
			c.current[name] = d
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	known := make(map[uint32]*s2.Dict, len(raw))
	for number, b := range raw {
		// Without a dictionary its records do not decode: the check of values
		// finds them, as it finds any others that are damaged.
		if d := s2.NewDict(b); d != nil {
			known[number] = d
		}
	}
	maps.DeleteFunc(c.current, func(_ string, d dictionary) bool { return known[d.number] == nil })
	c.known.Store(&known)
	return c, nil
}

// encode appends the body of a record to b.
func (c *codec) encode(t *Tx, name string, list uint32, properties []byte, b []byte) ([]byte, error) {
	if properties == nil {
		return append(b, noBody), nil
	}
	d, ok := t.dictionary(name)
	if !ok || list > d.list {
		made, err := c.sample(t, name, list, properties)
		if err != nil {
			return nil, err
		}
		if made != (dictionary{}) {
			d, ok = made, true
		}
	}
	if !ok || len(properties) > maxBody {
		return append(append(b, rawBody), properties...), nil
	}
	// Packed apart and then copied: what a transaction holds is no larger than
	// what is written.
	c.buf = slices.Grow(c.buf[:0], max(s2.MaxEncodedLen(len(properties)), 0))
	packed := (*c.known.Load())[d.number].Encode(c.buf[:cap(c.buf)], properties)
	b = binary.AppendUvarint(append(b, packedBody), uint64(d.number))
	b = append(b, packed...)
	if cap(c.buf) > 1<<20 {
		c.buf = nil
	}
	return b, nil
}

// sample takes a record into the next dictionary of its stream and returns
// that dictionary when it is complete. Its number is never given to another,
// even if the transaction fails; readers know it before they can meet it.
func (c *codec) sample(t *Tx, name string, list uint32, properties []byte) (dictionary, error) {
	raw := append(c.sampled[name], properties[:min(len(properties), maxSample, maxDict-len(c.sampled[name]))]...)
	c.sampled[name] = raw
	if c.taken[name]++; c.taken[name] < samples && len(raw) < maxDict {
		return dictionary{}, nil
	}
	delete(c.sampled, name)
	delete(c.taken, name)
	made := s2.MakeDict(raw, nil)
	if made == nil {
		return dictionary{}, nil // too little to be one
	}
	c.last++
	d := dictionary{c.last, list}
	key := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(streamKey(kDict, name), d.number), d.list)
	n := uint16(0)
	for piece := range slices.Chunk(made.Bytes(), dictPiece) {
		if err := t.set(binary.BigEndian.AppendUint16(slices.Clone(key), n), piece); err != nil {
			return dictionary{}, err
		}
		n++
	}
	known := maps.Clone(*c.known.Load())
	known[d.number] = made
	c.known.Store(&known)
	t.dicts[name] = d
	return d, nil
}

// unpack is the inverse of a packed body.
func (c *codec) unpack(b []byte) ([]byte, error) {
	number, n := binary.Uvarint(b)
	if n <= 0 || number > math.MaxUint32 {
		return nil, errBody
	}
	d := (*c.known.Load())[uint32(number)]
	if d == nil {
		return nil, fmt.Errorf("%w: dictionary %d is missing", errBody, number)
	}
	if size, err := s2.DecodedLen(b[n:]); err != nil || size > maxBody {
		return nil, fmt.Errorf("%w: its length is damaged", errBody)
	}
	out, err := d.Decode(nil, b[n:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	return out, nil
}

// appendRecord begins a record's value in the feed: its id and head; the body
// follows.
func appendRecord(id string, head []byte) []byte {
	b := make([]byte, 0, len(id)+len(head)+512)
	return append(appendText(b, id), head...)
}

// readRecord reads id and head and returns the body as it is kept.
func readRecord(b []byte, h *stream.Head) ([]byte, error) {
	rd := reader{b: b}
	id := rd.text()
	if rd.bad {
		return nil, errBody
	}
	h.ID = id
	rest, err := readHead(rd.b, h)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, errBody
	}
	return rest, nil
}

// decode reads a record as the feed holds it.
func (c *codec) decode(b []byte) (*stream.Record, error) {
	r := &stream.Record{}
	body, err := readRecord(b, &r.Head)
	if err != nil {
		return nil, err
	}
	switch body[0] {
	case noBody:
	case rawBody:
		r.Properties = slices.Clone(body[1:])
	case packedBody:
		if r.Properties, err = c.unpack(body[1:]); err != nil {
			return nil, err
		}
	default:
		return nil, errBody
	}
	return r, nil
}
