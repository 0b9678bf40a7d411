package protocol

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/zstd"
)

// PageKind is what a page carries.
type PageKind string

// The kinds of page. Records bring what was read, a Listing ids with versions,
// a Schema the property definitions, a Split the wish to divide the range, a
// Sweep the wish to read the range by list instead of search, a Join the wish
// that one walker goes on where several had shared a list.
const (
	RecordsPage PageKind = "records"
	ListingPage PageKind = "listing"
	SchemaPage  PageKind = "schema"
	SplitPage   PageKind = "split"
	SweepPage   PageKind = "sweep"
	JoinPage    PageKind = "join"
)

// Bounds of a page before compression. A record above them travels alone.
const (
	MaxPageBytes   = 256 << 10
	MaxPageRecords = 100
	// MaxListed bounds a listing, and with it what the ledger keeps as want.
	MaxListed = 2000
	// MaxRawPage is the most that a page may unfold to; above it a page is
	// refused unread. A single record may be larger than MaxPageBytes.
	MaxRawPage = 16 << 20
)

// Page is a batch of one range, at most one of which is in flight.
type Page struct {
	Store   string   `json:"store"`
	Epoch   uint64   `json:"epoch"`
	Process string   `json:"process"`
	Attempt uint64   `json:"attempt"`
	Range   uint32   `json:"range"`
	Seq     uint64   `json:"seq"`
	Kind    PageKind `json:"kind"`
	From    string   `json:"from"`
	To      string   `json:"to"`
	Last    bool     `json:"last,omitempty"`
	Count   int      `json:"count"`
	// Began and Account as in AttemptReport.
	Began    int64    `json:"began,omitempty"`
	Account  *Account `json:"account,omitempty"`
	Requests uint64   `json:"requests,omitempty"`
	// List is the hash of the property list that the records were read with
	// (of a schema page: the list it brings); AsOf is when a schema was read, or
	// what is gone was asked for.
	List string `json:"list,omitempty"`
	AsOf int64  `json:"as_of,omitempty"`
	// Open are wanted ids that could not be read; Gone, of a range that asks,
	// those that HubSpot has neither live nor archived, as of AsOf.
	Open []OpenID `json:"open,omitempty"`
	Gone []string `json:"gone,omitempty"`
	// Merges are what records of this page say of those that they took in.
	Merges []Merge `json:"merges,omitempty"`
	// SplitAt, SplitID: where a split page wants the range divided; one of
	// them is set.
	SplitAt int64  `json:"split_at,omitempty"`
	SplitID uint64 `json:"split_id,omitempty"`
	// Reason says why, for a sweep page and a join page.
	Reason string `json:"reason,omitempty"`

	Records []Record `json:"-"`
	Listing []Listed `json:"-"`
	Schema  []byte   `json:"-"` // the definitions as one line of JSON
}

// OpenID is a wanted id that could not be read, with the reason.
type OpenID struct {
	ID      string `json:"id"`
	Version int64  `json:"v"`
	Reason  string `json:"reason"`
	// TooLarge says that the broker cannot carry the record.
	TooLarge bool `json:"too_large,omitempty"`
}

// Record is one record on its way. Properties is one line of JSON, an object,
// as HubSpot sent it; nil where the state keeps none.
type Record struct {
	ID         string
	State      string
	Version    int64
	AsOf       int64
	Digest     [16]byte
	CreatedAt  string
	UpdatedAt  string
	ArchivedAt string
	MergedInto string
	Confirmed  bool // an older version, read a second time
	Properties []byte
}

// Errors of decoding. A page that gives one is refused.
var (
	ErrUndecodable = errors.New("page does not decode")
	ErrTooLarge    = errors.New("page is out of bounds")
)

// Digest names the bytes of an encoded page: a repeat has the same.
func Digest(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:8])
}

// Codec encodes and decodes pages. It is safe for concurrent use and holds
// no goroutines.
type Codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
	buf sync.Pool
}

// NewCodec returns a codec that refuses pages that unfold to more than
// MaxRawPage.
func NewCodec() (*Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(512<<10))
	if err != nil {
		return nil, fmt.Errorf("make page encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxRawPage), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, fmt.Errorf("make page decoder: %w", err)
	}
	return &Codec{enc: enc, dec: dec}, nil
}

// Close frees what the codec holds; it must not be in use.
func (c *Codec) Close() {
	c.dec.Close()
	_ = c.enc.Close()
}

// Encode returns the page as it travels: zstd over a header line of JSON and
// then the records, the listing or the definitions, one a line.
func (c *Codec) Encode(p *Page) ([]byte, error) {
	raw, _ := c.buf.Get().(*bytes.Buffer)
	if raw == nil {
		raw = new(bytes.Buffer)
	}
	defer c.buf.Put(raw)
	raw.Reset()
	head := *p
	head.Count = len(p.Records) + len(p.Listing)
	if p.Schema != nil {
		head.Count = 1
	}
	if err := json.NewEncoder(raw).Encode(&head); err != nil {
		return nil, fmt.Errorf("encode page header: %w", err)
	}
	for i := range p.Records {
		if err := appendRecord(raw, &p.Records[i]); err != nil {
			return nil, err
		}
	}
	for i := range p.Listing {
		if err := appendListed(raw, &p.Listing[i]); err != nil {
			return nil, err
		}
	}
	if p.Schema != nil {
		if bytes.IndexByte(p.Schema, '\n') >= 0 {
			return nil, fmt.Errorf("encode page: definitions are not one line: %w", ErrUndecodable)
		}
		raw.Write(p.Schema)
		raw.WriteByte('\n')
	}
	if raw.Len() > MaxRawPage {
		return nil, fmt.Errorf("encode page of %d bytes: %w", raw.Len(), ErrTooLarge)
	}
	return c.enc.EncodeAll(raw.Bytes(), nil), nil
}

func appendRecord(raw *bytes.Buffer, r *Record) error {
	var num [32]byte
	for _, s := range []string{r.ID, r.State, r.CreatedAt, r.UpdatedAt, r.ArchivedAt, r.MergedInto} {
		if err := plain(s); err != nil {
			return err
		}
	}
	if bytes.IndexByte(r.Properties, '\n') >= 0 {
		return fmt.Errorf("encode record %s: properties are not one line: %w", r.ID, ErrUndecodable)
	}
	raw.WriteString(r.ID)
	raw.WriteByte('\t')
	raw.WriteString(r.State)
	raw.WriteByte('\t')
	raw.Write(strconv.AppendInt(num[:0], r.Version, 10))
	raw.WriteByte('\t')
	raw.Write(strconv.AppendInt(num[:0], r.AsOf, 10))
	raw.WriteByte('\t')
	raw.Write(hex.AppendEncode(num[:0], r.Digest[:]))
	for _, s := range []string{r.CreatedAt, r.UpdatedAt, r.ArchivedAt, r.MergedInto} {
		raw.WriteByte('\t')
		raw.WriteString(s)
	}
	raw.WriteByte('\t')
	if r.Confirmed {
		raw.WriteByte('c')
	}
	raw.WriteByte('\t')
	raw.Write(r.Properties)
	raw.WriteByte('\n')
	return nil
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
	var h zstd.Header
	if err := h.Decode(encoded); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
	}
	if h.HasFCS && h.FrameContentSize > MaxRawPage {
		return nil, fmt.Errorf("page unfolds to %d bytes: %w", h.FrameContentSize, ErrTooLarge)
	}
	raw, err := c.dec.DecodeAll(encoded, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUndecodable, err)
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
		lines++
		switch p.Kind {
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
		case SchemaPage:
			if p.Schema != nil || !json.Valid(line) {
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
	case RecordsPage, ListingPage, SchemaPage, SplitPage, SweepPage, JoinPage:
	default:
		return fmt.Errorf("kind %q: %w", p.Kind, ErrUndecodable)
	}
	if len(p.Records) > MaxPageRecords || len(p.Listing) > MaxListed {
		return fmt.Errorf("%d lines: %w", lines, ErrTooLarge)
	}
	return nil
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
	}
	r := Record{ID: f[0], State: f[1], CreatedAt: f[5], UpdatedAt: f[6], ArchivedAt: f[7], MergedInto: f[8]}
	var err1, err2 error
	r.Version, err1 = strconv.ParseInt(f[2], 10, 64)
	r.AsOf, err2 = strconv.ParseInt(f[3], 10, 64)
	if r.ID == "" || err1 != nil || err2 != nil || len(f[4]) != 2*len(r.Digest) {
		return Record{}, fmt.Errorf("id, times or digest: %w", ErrUndecodable)
	}
	digest, err := hex.DecodeString(f[4])
	if err != nil {
		return Record{}, fmt.Errorf("digest: %w", ErrUndecodable)
	}
	r.Digest = [16]byte(digest)
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
		if rest[0] != '{' || !valid(rest) {
			return Record{}, fmt.Errorf("properties are not a JSON object: %w", ErrUndecodable)
		}
		r.Properties = rest
	}
	return r, nil
}

// valid says whether b is one JSON value. It takes a third of the time of
// encoding/json's; names that stand twice and halves of surrogate pairs are
// HubSpot's to send.
func valid(b []byte) bool {
	return jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Unmarshal decodes a JSON message, refusing what is not one whole value.
func Unmarshal[T any](payload []byte) (T, error) {
	var v T
	dec := json.NewDecoder(bytes.NewReader(payload))
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("decode message: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return v, fmt.Errorf("decode message: more after its end")
	}
	return v, nil
}
