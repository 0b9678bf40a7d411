package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// keptScratch bounds what a codec keeps for the next page: a record may be far
// larger than a page.
const keptScratch = 4 * MaxPageBytes

// Codec encodes and decodes pages. It is safe for concurrent use and holds no
// goroutines; its zero value is ready.
type Codec struct {
	once    sync.Once
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	err     error     // why there are none
	scratch sync.Pool // of *[]byte, for pages on their way to being packed
}

// ready makes what packs and unpacks, once.
//
// Entropy coding is left out: it took more of a worker's time than all else
// together, for pages a quarter smaller.
func (c *Codec) ready() error {
	c.once.Do(func() {
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithNoEntropyCompression(true),
			zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(512<<10))
		if err != nil {
			c.err = fmt.Errorf("make page encoder: %w", err)
			return
		}
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(MaxRawPage), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			c.err = fmt.Errorf("make page decoder: %w", err)
			return
		}
		c.enc, c.dec = enc, dec
	})
	return c.err
}

// Digest names the bytes of an encoded page: a repeat has the same. It is
// compared between pages that one process sent under one number alone, and so
// guards against a fault and not against an enemy, who would be that process.
func Digest(encoded []byte) string {
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], xxh3.Hash(encoded))
	return hex.EncodeToString(sum[:])
}

// Encode returns the page as it travels: zstd of a header line of JSON and the
// records with what history they have, the listing, the parts or the
// definitions, one a line. The header is a frame of
// its own, so that the rest, the costly part, may be packed before the header is
// known; frames one after another are one zstd stream.
func (c *Codec) Encode(p *Page) ([]byte, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if p.Packed == nil {
		one := *p
		if err := c.Pack(&one); err != nil {
			return nil, err
		}
		p = &one
	}
	head := *p
	head.Count = len(p.Records) + len(p.Listing) + len(p.Parts)
	if p.Schema != nil {
		head.Count = 1
	}
	if p.Kind == RecordsPage {
		head.PartLines = len(p.Parts)
	}
	line, err := json.Marshal(&head)
	if err != nil {
		return nil, fmt.Errorf("encode page header: %w", err)
	}
	return append(c.enc.EncodeAll(append(line, '\n'), make([]byte, 0, len(line)+64+len(p.Packed))), p.Packed...), nil
}

// Pack does the costly part of Encode beforehand, while the rest of the page is
// not known yet. Records, listing and definitions must not change after it.
func (c *Codec) Pack(p *Page) error {
	if err := c.ready(); err != nil {
		return err
	}
	b, _ := c.scratch.Get().(*[]byte)
	if b == nil {
		b = new([]byte)
	}
	defer func() {
		if cap(*b) <= keptScratch {
			c.scratch.Put(b)
		}
	}()
	raw, err := appendBody((*b)[:0], p)
	if err != nil {
		return err
	}
	*b = raw
	if len(raw) > MaxRawPage {
		return fmt.Errorf("encode page of %d bytes: %w", len(raw), ErrTooLarge)
	}
	p.Packed = c.enc.EncodeAll(raw, make([]byte, 0, len(raw)/3))
	return nil
}

func appendBody(raw []byte, p *Page) (_ []byte, err error) {
	for i := range p.Records {
		if raw, err = appendRecord(raw, &p.Records[i]); err != nil {
			return nil, err
		}
	}
	for i := range p.Listing {
		if raw, err = appendListed(raw, &p.Listing[i]); err != nil {
			return nil, err
		}
	}
	for i := range p.Parts {
		if raw, err = appendPart(raw, &p.Parts[i]); err != nil {
			return nil, err
		}
	}
	if p.Schema != nil {
		if bytes.IndexByte(p.Schema, '\n') >= 0 {
			return nil, fmt.Errorf("encode page: definitions are not one line: %w", ErrUndecodable)
		}
		raw = append(append(raw, p.Schema...), '\n')
	}
	return raw, nil
}

func appendRecord(raw []byte, r *Record) ([]byte, error) {
	for _, s := range [...]string{r.ID, r.State, r.CreatedAt, r.UpdatedAt, r.ArchivedAt, r.MergedInto} {
		if err := plain(s); err != nil {
			return nil, err
		}
	}
	if bytes.IndexByte(r.Properties, '\n') >= 0 {
		return nil, fmt.Errorf("encode record %s: properties are not one line: %w", r.ID, ErrUndecodable)
	}
	raw = append(append(raw, r.ID...), '\t')
	raw = append(append(raw, r.State...), '\t')
	raw = append(strconv.AppendInt(raw, r.Version, 10), '\t')
	raw = append(strconv.AppendInt(raw, r.AsOf, 10), '\t')
	raw = append(hex.AppendEncode(raw, r.Digest[:]), '\t')
	raw = append(append(raw, r.CreatedAt...), '\t')
	raw = append(append(raw, r.UpdatedAt...), '\t')
	raw = append(append(raw, r.ArchivedAt...), '\t')
	raw = append(append(raw, r.MergedInto...), '\t')
	if r.Confirmed {
		raw = append(raw, 'c')
	}
	raw = append(raw, '\t')
	return append(append(raw, r.Properties...), '\n'), nil
}

// plain refuses what would break a line into other fields.
func plain(s string) error {
	for i := range len(s) {
		if s[i] < ' ' {
			return fmt.Errorf("control character in %q: %w", s, ErrUndecodable)
		}
	}
	return nil
}

// Decode is the inverse of Encode. It returns ErrUndecodable or ErrTooLarge,
// wrapped, for anything that Encode would not have made; the page's slices
// share one buffer of their own.
func (c *Codec) Decode(encoded []byte) (*Page, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if len(encoded) == 0 {
		return nil, fmt.Errorf("it is empty: %w", ErrUndecodable)
	}
	raw, err := c.dec.DecodeAll(encoded, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if len(raw) > MaxRawPage {
		return nil, fmt.Errorf("page unfolds to %d bytes: %w", len(raw), ErrTooLarge)
	}
	line, rest, ok := bytes.Cut(raw, []byte{'\n'})
	if !ok {
		return nil, fmt.Errorf("no header line: %w", ErrUndecodable)
	}
	p := new(Page)
	if err := json.Unmarshal(line, p); err != nil {
		return nil, fmt.Errorf("header: %w: %w", ErrUndecodable, err)
	}
	return p, p.decodeBody(rest)
}

func (p *Page) decodeBody(rest []byte) error {
	lines := 0
	if p.PartLines != 0 && (p.Kind != RecordsPage || p.PartLines < 0 || p.PartLines > min(p.Count, MaxPageRecords)) {
		return fmt.Errorf("%d lines of parts: %w", p.PartLines, ErrUndecodable)
	}
	if p.Kind == RecordsPage {
		// The header may say anything.
		p.Records = make([]Record, 0, min(max(p.Count, 0), MaxPageRecords))
	}
	for len(rest) > 0 {
		line, after, ok := bytes.Cut(rest, []byte{'\n'})
		if !ok {
			return fmt.Errorf("line %d is cut: %w", lines+1, ErrUndecodable)
		}
		rest = after
		if lines++; lines > p.PartLines+mostLines(p.Kind) && mostLines(p.Kind) > 0 {
			return fmt.Errorf("more than %d lines: %w", lines-1, ErrTooLarge)
		}
		kind := p.Kind
		if kind == RecordsPage && lines > p.Count-p.PartLines {
			kind = PartsPage
		}
		switch kind {
		case RecordsPage:
			r, err := decodeRecord(line)
			if err != nil {
				return fmt.Errorf("record %d: %w", lines, err)
			}
			p.Records = append(p.Records, r)
		case ListingPage:
			l, err := decodeListed(line)
			if err != nil {
				return fmt.Errorf("listed id %d: %w", lines, err)
			}
			p.Listing = append(p.Listing, l)
		case PartsPage:
			part, err := decodePart(line)
			if err != nil {
				return fmt.Errorf("part %d: %w", lines, err)
			}
			p.Parts = append(p.Parts, part)
		case SchemaPage:
			if p.Schema != nil || !rawjson.Valid(line) {
				return fmt.Errorf("definitions: %w", ErrUndecodable)
			}
			p.Schema = line
		default:
			return fmt.Errorf("a page of kind %q with lines: %w", p.Kind, ErrUndecodable)
		}
	}
	if lines != p.Count {
		return fmt.Errorf("%d lines where the header says %d: %w", lines, p.Count, ErrUndecodable)
	}
	switch p.Kind {
	case RecordsPage, ListingPage, SchemaPage, SplitPage, SweepPage, WalkPage, JoinPage, PartsPage:
	default:
		return fmt.Errorf("kind %q: %w", p.Kind, ErrUndecodable)
	}
	taken := 0
	for i := range p.Merges {
		taken += len(p.Merges[i].From)
	}
	if len(p.Open) > MaxListed || len(p.Gone) > MaxGone || len(p.Merges) > MaxPageRecords || taken > MaxMerged {
		return fmt.Errorf("%d open, %d gone, %d merged: %w", len(p.Open), len(p.Gone), taken, ErrTooLarge)
	}
	return nil
}

// mostLines is how many lines a page may have below its header.
func mostLines(kind PageKind) int {
	switch kind {
	case RecordsPage:
		return MaxPageRecords
	case ListingPage:
		return MaxListed
	case PartsPage:
		return MaxParts
	case SchemaPage:
		return 1
	}
	return 0
}

func decodeRecord(line []byte) (Record, error) {
	end := -1
	for i := range 10 {
		n := bytes.IndexByte(line[end+1:], '\t')
		if n < 0 {
			return Record{}, fmt.Errorf("field %d is missing: %w", i+1, ErrUndecodable)
		}
		end += n + 1
	}
	// One copy of what stands before the properties serves all fields.
	head, rest := string(line[:end]), line[end+1:]
	var f [10]string
	for i := range f {
		f[i], head, _ = strings.Cut(head, "\t")
		if err := plain(f[i]); err != nil {
			return Record{}, err
		}
	}
	r := Record{ID: f[0], State: f[1], CreatedAt: f[5], UpdatedAt: f[6], ArchivedAt: f[7], MergedInto: f[8]}
	var err1, err2 error
	r.Version, err1 = strconv.ParseInt(f[2], 10, 64)
	r.AsOf, err2 = strconv.ParseInt(f[3], 10, 64)
	if r.ID == "" || err1 != nil || err2 != nil || len(f[4]) != 2*len(r.Digest) {
		return Record{}, fmt.Errorf("id, times or digest: %w", ErrUndecodable)
	}
	var digest [2 * len(r.Digest)]byte
	copy(digest[:], f[4])
	if _, err := hex.Decode(r.Digest[:], digest[:]); err != nil {
		return Record{}, fmt.Errorf("digest: %w", ErrUndecodable)
	}
	switch f[9] {
	case "":
	case "c":
		r.Confirmed = true
	default:
		return Record{}, fmt.Errorf("mark %q: %w", f[9], ErrUndecodable)
	}
	if len(rest) > 0 {
		// A worker has parsed them already; this is against a stranger on a
		// broker without access rules, whose bytes would go out with the API.
		if rest[0] != '{' || !rawjson.Valid(rest) {
			return Record{}, fmt.Errorf("properties are not a JSON object: %w", ErrUndecodable)
		}
		r.Properties = rest
	}
	return r, nil
}
