package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// PageKind is what a page carries.
type PageKind string

// The kinds of page. Records bring what was read, a Listing ids with versions,
// a Schema the property definitions, a Split the wish to divide the range, a
// Sweep the wish to read the range by list instead of search, a Walk the wish to
// read the whole list with all properties, since that costs less, a Join the
// wish that one walker goes on where several had shared a list. Parts bring what
// is read apart from the properties: associations, or the history of properties.
const (
	RecordsPage PageKind = "records"
	ListingPage PageKind = "listing"
	SchemaPage  PageKind = "schema"
	SplitPage   PageKind = "split"
	SweepPage   PageKind = "sweep"
	WalkPage    PageKind = "walk"
	JoinPage    PageKind = "join"
	PartsPage   PageKind = "parts"
)

// PartKind is which part of a record a page of parts brings.
type PartKind string

// The kinds of part.
const (
	AssociationsPart PartKind = ""
	HistoryPart      PartKind = "history"
)

// Bounds of a page before compression. A record above them travels alone.
const (
	MaxPageBytes   = 256 << 10
	MaxPageRecords = 100
	// MaxParts and MaxGone bound what changes records that are stored already:
	// each of them touches a place of its own on the daemon's disk, and all have
	// to go in one commit.
	MaxParts = 250
	MaxGone  = 200
	// MaxMerged bounds, for the same reason, whom the records of a page may name
	// as merged into them. HubSpot takes 250 merges of one record.
	MaxMerged = 500
	// MaxListed bounds a listing, and with it what the ledger keeps as want.
	MaxListed = 2000
	// MaxExcept bounds what a listing is not about, MaxNotes in bytes what a run
	// leaves to the next.
	MaxExcept = 1000
	MaxNotes  = 256 << 10
	// MaxUntyped bounds the properties of which a page counts untyped values.
	MaxUntyped = 200
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
	// Except, of a listing of whole rows: beginnings of ids of which it says
	// nothing, in their order. The listing is complete for all others from From
	// to To.
	Except []string `json:"except,omitempty"`
	// Notes, of the last listing of a range, is what the stream's next run is to
	// know, in the worker's words.
	Notes string `json:"notes,omitempty"`
	// Untyped, of a listing of whole records, counts by property the values that
	// are not of the property's type.
	Untyped map[string]uint64 `json:"untyped,omitempty"`
	// Live, of the last listing of a newest window, is how many live records search
	// has in all, where that was asked for.
	Live *int64 `json:"live,omitempty"`
	// Reason says why, for a sweep page, a walk page and a join page.
	Reason string `json:"reason,omitempty"`
	// PartKind is what the parts of a page of parts are. Those in a page of
	// records, of which PartLines says how many of its lines they are, are the
	// history of its records, read with them.
	PartKind  PartKind `json:"part,omitempty"`
	PartLines int      `json:"part_lines,omitempty"`

	Records []Record `json:"-"`
	Parts   []Part   `json:"-"`
	Listing []Listed `json:"-"`
	Schema  []byte   `json:"-"` // the definitions as one line of JSON
	// Packed is what Codec.Pack made of the three; Encode then takes it in
	// their place. Decode does not fill it.
	Packed []byte `json:"-"`
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
	// Merged are the ids that its properties say were merged into it. They do
	// not travel with the record, but in the page's Merges.
	Merged []string
}

// Part is what a record has beside its properties, read at AsOf by HubSpot's
// clock: Body is one line of JSON, an object. Its members are the objects with
// which the record is associated, or the properties whose history is kept.
type Part struct {
	ID     string
	AsOf   int64
	Digest [16]byte
	Body   []byte
}

// Errors of decoding. A page that gives one is refused.
var (
	ErrUndecodable = errors.New("page does not decode")
	ErrTooLarge    = errors.New("page is out of bounds")
)

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
