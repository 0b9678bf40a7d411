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
	// before it would take all the blocks that need it.
	dictPiece = valueThreshold - 32
	// maxBlock is the most that a block may unfold to; pages are bounded far
	// below. It is against a damaged length, which would be allocated.
	maxBlock = 64 << 20
	// fewRecords is below which a block is compressed with the stream's
	// dictionary: from there on columns do better.
	fewRecords = 12
)

// How a block is packed, by its first byte.
const (
	packedAlone = 1 // an s2 block
	packedWith  = 2 // the dictionary's number, and an s2 block
)

var errBlock = errors.New("a block of records does not decode")

// codec compresses blocks. A block of many records has enough that repeats; for
// one of a few each stream has a dictionary, made of the first records with a
// property list; with another list comes another dictionary. Old ones stay:
// blocks refer to them.
type codec struct {
	// known are all dictionaries; the map is replaced when one joins.
	known atomic.Pointer[map[uint32]*s2.Dict]

	// The rest is the writer's alone.
	current map[string]dictionary
	sampled map[string][]byte
	taken   map[string]int // records in sampled
	last    uint32
	raw     []byte
	packed  []byte
	few     block
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
		// Without a dictionary its blocks do not decode: the check of values
		// finds them, as it finds any others that are damaged.
		if d := s2.NewDict(b); d != nil {
			known[number] = d
		}
	}
	maps.DeleteFunc(c.current, func(_ string, d dictionary) bool { return known[d.number] == nil })
	c.known.Store(&known)
	return c, nil
}

// pack makes of a block what is kept of it: the records that are not gone.
func (c *codec) pack(d dictionary, has bool, b *block) ([]byte, error) {
	kind := byte(packedAlone)
	if n, _ := b.live(); has && n < fewRecords {
		kind = packedWith
		c.few.reset(b.first)
		c.few.addWhole(b)
		b = &c.few
	}
	raw := b.append(c.raw[:0])
	if len(raw) > maxBlock {
		return nil, fmt.Errorf("%d MiB of records in one block are too much", len(raw)>>20)
	}
	// Packed apart and then copied: what a transaction holds is no larger than
	// what is written.
	c.raw, c.packed = raw, slices.Grow(c.packed[:0], s2.MaxEncodedLen(len(raw)))
	head, packed := make([]byte, 0, 1+binary.MaxVarintLen32), c.packed[:cap(c.packed)]
	if head = append(head, kind); kind == packedWith {
		head = binary.AppendUvarint(head, uint64(d.number))
		packed = (*c.known.Load())[d.number].Encode(packed, raw)
	} else {
		packed = s2.Encode(packed, raw)
	}
	out := append(make([]byte, 0, len(head)+len(packed)), head...)
	out = append(out, packed...)
	if cap(c.raw) > 4*blockBytes {
		c.raw, c.packed, c.few = nil, nil, block{}
	}
	return out, nil
}

// unpack reads a block from what is kept of it.
func (c *codec) unpack(first uint64, in []byte, b *block) error {
	if len(in) == 0 { // Badger gives nothing, and no error, for a value that it cannot read
		return errBlock
	}
	var d *s2.Dict
	kind, in := in[0], in[1:]
	switch kind {
	case packedAlone:
	case packedWith:
		number, n := binary.Uvarint(in)
		if n <= 0 || number > math.MaxUint32 {
			return errBlock
		}
		if d = (*c.known.Load())[uint32(number)]; d == nil {
			return fmt.Errorf("%w: dictionary %d is missing", errBlock, number)
		}
		in = in[n:]
	default:
		return errBlock
	}
	if size, err := s2.DecodedLen(in); err != nil || size > maxBlock {
		return fmt.Errorf("%w: its length is damaged", errBlock)
	}
	var raw []byte
	var err error
	if d != nil {
		raw, err = d.Decode(b.buf[:cap(b.buf)], in)
	} else {
		raw, err = s2.Decode(b.buf[:cap(b.buf)], in)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	b.buf = raw
	return b.parse(first, raw)
}

// sampleFor takes a record into the next dictionary of its stream, where one is
// due.
func (c *codec) sampleFor(t *Tx, name string, list uint32, properties []byte) error {
	if d, ok := t.dictionary(name); properties == nil || ok && list <= d.list {
		return nil
	}
	return c.sample(t, name, list, properties)
}

// sample takes a record into the next dictionary of its stream; the transaction
// has that dictionary when it is complete. Its number is never given to another,
// even if the transaction fails; readers know it before they can meet it.
func (c *codec) sample(t *Tx, name string, list uint32, properties []byte) error {
	raw := append(c.sampled[name], properties[:min(len(properties), maxSample, maxDict-len(c.sampled[name]))]...)
	c.sampled[name] = raw
	if c.taken[name]++; c.taken[name] < samples && len(raw) < maxDict {
		return nil
	}
	delete(c.sampled, name)
	delete(c.taken, name)
	made := s2.MakeDict(raw, nil)
	if made == nil {
		return nil // too little to be one
	}
	c.last++
	d := dictionary{c.last, list}
	key := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(streamKey(kDict, name), d.number), d.list)
	n := uint16(0)
	for piece := range slices.Chunk(made.Bytes(), dictPiece) {
		if err := t.set(binary.BigEndian.AppendUint16(slices.Clone(key), n), piece); err != nil {
			return err
		}
		n++
	}
	known := maps.Clone(*c.known.Load())
	known[d.number] = made
	c.known.Store(&known)
	t.dicts[name] = d
	return nil
}
