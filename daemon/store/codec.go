package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/hashicorp/go-hclog"
	"github.com/klauspost/compress/zstd"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// maxDict bounds a dictionary; the names of a few hundred properties fit.
const maxDict = 32 << 10

// codec compresses bodies. Records of a stream repeat the names of their
// properties, so each stream has a dictionary: the properties of its first
// record, kept for as long as the stream.
type codec struct {
	mu    sync.RWMutex
	dicts map[string]*dictionary
}

type dictionary struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) { return &codec{dicts: map[string]*dictionary{}}, nil }

func (c *codec) close() {
	for _, d := range c.dicts {
		_ = d.enc.Close()
		d.dec.Close()
	}
}

func newDictionary(raw []byte) (*dictionary, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderDictRaw(1, raw), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("make an encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderDictRaw(1, raw), zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("make a decoder: %w", err)
	}
	return &dictionary{enc, dec}, nil
}

// encode writes head and body; the first record of a stream makes its
// dictionary.
func (c *codec) encode(t *Tx, name string, r *stream.Record) ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(len(r.ID)))
	b = append(b, r.ID...)
	b = appendHead(b, &r.Head)
	if r.Properties == nil {
		return append(b, 0), nil
	}
	d := t.dicts[name]
	if d == nil {
		var err error
		d, err = c.of(t.txn, name)
		if errors.Is(err, badger.ErrKeyNotFound) {
			raw := append([]byte(nil), r.Properties[:min(len(r.Properties), maxDict)]...)
			if len(raw) < 16 {
				return append(append(b, 1), r.Properties...), nil
			}
			if err := t.set(streamKey(kDict, name), raw); err != nil {
				return nil, err
			}
			if d, err = newDictionary(raw); err != nil {
				return nil, err
			}
			// Others may use it when it is on disk, not before.
			t.dicts[name] = d
		} else if err != nil {
			return nil, err
		}
	}
	return d.enc.EncodeAll(r.Properties, append(b, 2)), nil
}

func (c *codec) of(txn *badger.Txn, name string) (*dictionary, error) {
	c.mu.RLock()
	d := c.dicts[name]
	c.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	item, err := txn.Get(streamKey(kDict, name))
	if err != nil {
		return nil, err
	}
	raw, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	if d, err = newDictionary(raw); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dicts[name] == nil {
		c.dicts[name] = d
	}
	return c.dicts[name], nil
}

var errBody = errors.New("a record's body does not decode")

// adopt takes over the dictionaries of a transaction that was committed.
func (c *codec) adopt(dicts map[string]*dictionary) {
	if len(dicts) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, d := range dicts {
		if c.dicts[name] == nil {
			c.dicts[name] = d
		}
	}
}

// decode is the inverse of encode.
func (c *codec) decode(txn *badger.Txn, name string, b []byte) (*stream.Record, error) {
	rd := reader{b: b}
	r := &stream.Record{}
	r.ID = string(rd.take(rd.uvarint()))
	if rd.bad {
		return nil, errBody
	}
	rest, err := readHead(rd.b, &r.Head)
	if err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, errBody
	}
	switch rest[0] {
	case 0:
	case 1:
		r.Properties = append([]byte(nil), rest[1:]...)
	case 2:
		d, err := c.of(txn, name)
		if err != nil {
			return nil, err
		}
		if r.Properties, err = d.dec.DecodeAll(rest[1:], nil); err != nil {
			return nil, fmt.Errorf("%w: %w", errBody, err)
		}
	default:
		return nil, errBody
	}
	return r, nil
}

// badgerLog gives Badger's lines to our logger; what it says at info level is
// of no use to an operator.
type badgerLog struct{ log hclog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error(fmt.Sprintf(f, a...)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn(fmt.Sprintf(f, a...)) }
func (l badgerLog) Infof(f string, a ...any)    { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l badgerLog) Debugf(string, ...any)       {}
