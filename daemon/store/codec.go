package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/klauspost/compress/zstd"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

const (
	// maxDict bounds a dictionary; the names of several hundred properties fit.
	maxDict = 32 << 10
	// samples is how many records a dictionary is made of: more than a few
	// gain nothing that can be measured.
	samples = 4
	// dictPiece keeps a dictionary in the tree: in the value log, one bad byte
	// before it would take all the records that need it.
	dictPiece = valueThreshold - 32
	// maxEncoders bounds how many streams' encoders are kept (1.5 MiB each).
	maxEncoders = 8
)

// What a body is, by its first byte.
const (
	noBody = iota
	rawBody
	packedBody // zstd; the frame names its dictionary
)

var errBody = errors.New("a record's body does not decode")

// codec compresses bodies. The records of a stream repeat the names of their
// properties, so each stream has a dictionary, made of the first records with
// a property list; with another list comes another dictionary. Old ones stay:
// records refer to them.
type codec struct {
	// decoder knows every dictionary; it is replaced when one joins.
	decoder atomic.Pointer[zstd.Decoder]

	// The rest is the writer's alone.
	dicts    map[uint32][]byte
	current  map[string]dictionary
	sampled  map[string][][]byte
	encoders []encoder // most recently used last
	last     uint32
}

// dictionary is the one in use by a stream: its number, and the generation of
// the property list that it was made for.
type dictionary struct{ number, list uint32 }

type encoder struct {
	number uint32
	zstd   *zstd.Encoder
}

func openCodec(txn *badger.Txn) (*codec, error) {
	c := &codec{dicts: map[uint32][]byte{}, current: map[string]dictionary{}, sampled: map[string][][]byte{}}
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
		c.dicts[d.number] = append(c.dicts[d.number], value...)
		c.last = max(c.last, d.number)
		if d.number >= c.current[name].number {
			c.current[name] = d
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, c.renew()
}

// renew makes a decoder that knows all dictionaries. The old one is not
// closed: readers may be using it, and it holds nothing but memory.
func (c *codec) renew() error {
	o := []zstd.DOption{zstd.WithDecoderConcurrency(4), zstd.WithDecoderLowmem(true)}
	for number, raw := range c.dicts {
		o = append(o, zstd.WithDecoderDictRaw(number, raw))
	}
	d, err := zstd.NewReader(nil, o...)
	if err != nil {
		return fmt.Errorf("make a decoder: %w", err)
	}
	c.decoder.Store(d)
	return nil
}

// close lets encoders and decoder go; nobody may be using them.
func (c *codec) close() {
	for _, e := range c.encoders {
		_ = e.zstd.Close()
	}
	c.decoder.Load().Close()
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
	if !ok {
		return append(append(b, rawBody), properties...), nil
	}
	e, err := c.encoder(d.number)
	if err != nil {
		return nil, err
	}
	return e.EncodeAll(properties, append(b, packedBody)), nil
}

// sample takes a record into the next dictionary of its stream and returns
// that dictionary when it is complete. Its number is never given to another,
// even if the transaction fails; readers know it before they can meet it.
func (c *codec) sample(t *Tx, name string, list uint32, properties []byte) (dictionary, error) {
	c.sampled[name] = append(c.sampled[name], slices.Clone(properties[:min(len(properties), maxDict/samples)]))
	if len(c.sampled[name]) < samples {
		return dictionary{}, nil
	}
	raw := slices.Concat(c.sampled[name]...)
	delete(c.sampled, name)
	if len(raw) < 64 {
		return dictionary{}, nil
	}
	c.last++
	d := dictionary{c.last, list}
	key := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(streamKey(kDict, name), d.number), d.list)
	n := uint16(0)
	for piece := range slices.Chunk(raw, dictPiece) {
		if err := t.set(binary.BigEndian.AppendUint16(slices.Clone(key), n), piece); err != nil {
			return dictionary{}, err
		}
		n++
	}
	c.dicts[d.number] = raw
	t.dicts[name] = d
	return d, c.renew()
}

func (c *codec) encoder(number uint32) (*zstd.Encoder, error) {
	for i, e := range c.encoders {
		if e.number == number {
			c.encoders = append(slices.Delete(c.encoders, i, i+1), e)
			return e.zstd, nil
		}
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderDictRaw(number, c.dicts[number]), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("make an encoder: %w", err)
	}
	if len(c.encoders) == maxEncoders {
		_ = c.encoders[0].zstd.Close()
		c.encoders = slices.Delete(c.encoders, 0, 1)
	}
	c.encoders = append(c.encoders, encoder{number, z})
	return z, nil
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
		if r.Properties, err = c.decoder.Load().DecodeAll(body[1:], nil); err != nil {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
	default:
		return nil, errBody
	}
	return r, nil
}
