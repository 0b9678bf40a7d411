package store

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
)

// The first byte of every block: s2, and whether it says who brought its records.
// In trials zstd at its fastest took three times the time for a quarter less.
const (
	packedBefore = 1
	packed       = 2
)

// maxBlock is the most that a block may unfold to; pages are bounded far below.
// It is against a damaged length, which would be allocated.
const maxBlock = 64 << 20

var errBlock = errors.New("a block of records does not decode")

// packer has the memory in which blocks are made; it is the writer's.
type packer struct{ raw, out []byte }

// pack makes of a block what is kept of it: the records that are not gone.
func (p *packer) pack(b *block) ([]byte, error) {
	raw := b.append(p.raw[:0])
	if len(raw) > maxBlock {
		return nil, fmt.Errorf("%d MiB of records in one block are too much", len(raw)>>20)
	}
	// Packed apart and then copied: what a transaction holds is no larger than
	// what is written.
	p.raw, p.out = raw, slices.Grow(p.out[:0], s2.MaxEncodedLen(len(raw)))
	out := s2.Encode(p.out[:cap(p.out)], raw)
	out = append(append(make([]byte, 0, 1+len(out)), packed), out...)
	if cap(p.raw) > 4*blockBytes {
		*p = packer{}
	}
	return out, nil
}

// unpack reads a block from what is kept of it.
func unpack(first uint64, in []byte, b *block) error {
	if len(in) == 0 || in[0] != packed && in[0] != packedBefore { // Badger gives nothing, and no error, for a value that it cannot read
		return errBlock
	}
	if size, err := s2.DecodedLen(in[1:]); err != nil || size > maxBlock {
		return fmt.Errorf("%w: its length is damaged", errBlock)
	}
	raw, err := s2.Decode(b.buf[:cap(b.buf)], in[1:])
	if err != nil {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	b.buf = raw
	return b.parse(first, raw, in[0] == packed)
}
