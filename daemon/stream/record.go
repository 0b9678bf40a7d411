package stream

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// State is where a record stands in its life.
type State string

// The states of a record. Archived keeps its parts (HubSpot restores for 90
// days); Purged and Merged have none.
const (
	Live     State = "live"
	Archived State = "archived"
	Purged   State = "purged"
	Merged   State = "merged"
)

// Valid tells whether s is one of the four states.
func (s State) Valid() bool {
	return s == Live || s == Archived || s == Purged || s == Merged
}

// Bare tells whether a record in this state has no content.
func (s State) Bare() bool { return s == Purged || s == Merged }

// Part says of a part that is read apart from the properties when that was
// (HubSpot's time in ms, at the begin of the request; 0: never) and what it
// was, by a digest that the worker made.
type Part struct {
	AsOf   int64
	Digest [16]byte
}

// Head is all of a record but its content.
type Head struct {
	ID    string
	Seq   uint64 // place in the change feed; given by the store
	State State
	// Version is the stream's cursor property in ms; AsOf is HubSpot's time
	// when the request that read it began.
	Version int64
	AsOf    int64
	// Digest names the content, made by the worker; List is the generation of
	// the property list that it was read with.
	Digest     [16]byte
	List       uint32
	CreatedAt  string // as HubSpot sent it
	UpdatedAt  string
	ArchivedAt string
	MergedInto string
	Synced     int64 // our commit, ms since 1970

	AssociationsPart Part
	HistoryPart      Part

	// By is who brought this version, ReadBy who brought its properties: another one
	// where associations or history alone have changed since. Only what is read with
	// its content has them: who judges a reading does not ask.
	By     Origin
	ReadBy Origin
}

// ArchivedMS is when an archived record was archived, in ms since 1970; 0 where
// it is not archived or does not say.
func (h *Head) ArchivedMS() int64 {
	if h.State != Archived {
		return 0
	}
	at, err := time.Parse(time.RFC3339, h.ArchivedAt)
	if err != nil {
		return 0
	}
	return at.UnixMilli()
}

// ArchivedAgain tells whether an archived record was archived at another time
// than it says (in ms; 0 is not known): it was restored in between, which need
// not have left another trace.
func (h *Head) ArchivedAgain(ms int64) bool {
	was := h.ArchivedMS()
	return was != 0 && ms != 0 && ms != was
}

// Record is one HubSpot object as hubpipe holds it. Properties is the JSON
// object as HubSpot sent it, nil for a tombstone without them; Associations
// and History are a line of JSON each, nil where they were never read.
type Record struct {
	Head
	Properties   []byte
	Associations []byte
	History      []byte
}

// Verdict is what becomes of a reading.
type Verdict int

// The verdicts: Insert and Replace are stored and take a place in the feed,
// Regress too (an older version that HubSpot confirmed); Same changes nothing;
// Older is dropped.
const (
	Insert Verdict = iota
	Replace
	Regress
	Same
	Older
)

// Stores tells whether the reading is written.
func (v Verdict) Stores() bool { return v == Insert || v == Replace || v == Regress }

// Judge decides whether a reading replaces what is stored: a newer version
// does; the same version with other content does when it was read later, and
// with no older property list, and so does one that was archived at another
// time; an older version only when a second read confirmed it. The same version and content changes nothing. What was merged
// away stays so: it may be given as archived, too.
func Judge(stored *Head, r *Head, confirmed bool) Verdict {
	switch {
	case stored == nil:
		return Insert
	case stored.State == Merged && r.State == Archived:
		return Same
	case r.Version > stored.Version:
		return Replace
	case r.Version < stored.Version:
		// A second read that is itself older than what is stored confirms
		// nothing.
		if confirmed && r.AsOf > stored.AsOf {
			return Regress
		}
		return Older
	case r.Digest == stored.Digest && r.State == stored.State && !stored.ArchivedAgain(r.ArchivedMS()):
		return Same
	case r.List < stored.List:
		return Older
	case r.List > stored.List:
		return Replace
	case r.AsOf > stored.AsOf:
		return Replace
	}
	return Same
}

// maxID bounds a record's id.
const maxID = 200

// CheckID says what is wrong with text that should be the id of a record, ""
// where it may be one.
func CheckID(id string) string {
	switch {
	case id == "":
		return "the record is empty"
	case len(id) > maxID:
		return fmt.Sprintf("the record has %d characters, more than %d", len(id), maxID)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Sprintf("%q is not the id of a record", id)
	}
	return ""
}
