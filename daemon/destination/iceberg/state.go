//go:build iceberg

package iceberg

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/iceberg-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// stateKey is the property of a table that has its state. The others are of the
// snapshots, for readers.
const (
	stateKey    = "hubpipe.state"
	storeKey    = "hubpipe.store"
	epochKey    = "hubpipe.epoch"
	positionKey = "hubpipe.position"
	commitKey   = "hubpipe.commit"
)

const stateVersion = 1

// state is what is known of a stream, as its table has it.
type state struct {
	Version int    `json:"version"`
	Stream  string `json:"stream"`
	// Number counts our commits.
	Number    uint64    `json:"number"`
	Store     string    `json:"store"`
	Epoch     uint64    `json:"epoch"`
	Writer    string    `json:"writer"`
	Committed time.Time `json:"committed_at"`
	Mode      string    `json:"mode"`
	// Position is the place in the feed up to which the table has everything.
	Position uint64     `json:"position"`
	Reread   *rereading `json:"reread,omitempty"`
	Rows     uint64     `json:"rows_written"`
	Unparsed uint64     `json:"unparsed"`
	// Whole is when each record was last written once, Since how many commits have
	// added rows after it.
	Whole time.Time `json:"whole_at"`
	Since uint64    `json:"commits_since"`
	// Owed is up to where nothing is left of what was erased, where something else
	// is; Erase says that everything has to be written again for it.
	Owed  *uint64 `json:"owed_since,omitempty"`
	Erase bool    `json:"erase,omitempty"`
	// Erased is the place of the commit that last had something that was erased.
	Erased uint64 `json:"erased,omitempty"`
	// Clean is what Owed becomes when the snapshots before it are gone.
	Clean *clean `json:"clean,omitempty"`
	// Outside is a file that was replaced and lies outside the table's location, where
	// nothing is taken away.
	Outside string `json:"outside,omitempty"`
	// Choice differs where what of the properties comes does: destination.Rules.Key.
	Choice  string         `json:"choice,omitempty"`
	Columns []files.Column `json:"columns"`
	// Ignored are changes of HubSpot's properties that the columns do not follow.
	Ignored []files.Ignored `json:"ignored,omitempty"`

	// Versions says of a stream's table that there is one of versions, or was.
	Versions bool `json:"versions,omitempty"`
	// Of a table of versions: Of is the stream whose they are, Base the place behind
	// which it has every one,
	// Unfilled that it lacks the records as they were there, Idle that none are wanted,
	// Bare that there may be versions of what has lost its content.
	Of       string `json:"versions_of,omitempty"`
	Base     uint64 `json:"base,omitempty"`
	Unfilled bool   `json:"unfilled,omitempty"`
	Idle     bool   `json:"idle,omitempty"`
	Bare     bool   `json:"bare,omitempty"`
}

// rereading is a reading of the feed from its beginning, whose files replace those
// that were there when it began.
type rereading struct {
	Reason string `json:"reason"`
	Until  uint64 `json:"until"`
	// Began is the number of the commit that began it, Writer whose that was, Sequence
	// the one that Iceberg gave it, Position the place that the table had then.
	Began    uint64 `json:"began"`
	Writer   string `json:"writer"`
	Sequence int64  `json:"sequence"`
	Position uint64 `json:"position"`
	// Anew counts how often it has begun anew, Why says after what, where that is none
	// of its reasons.
	Anew uint64 `json:"anew,omitempty"`
	Why  string `json:"why,omitempty"`
}

// clean is a place up to which nothing of what was erased is in the table, nor in
// snapshots of it from a sequence number on, nor in files that were written since At.
type clean struct {
	Position uint64    `json:"position"`
	Sequence int64     `json:"sequence"`
	At       time.Time `json:"at"`
}

// readState reads the state of a table: that of a stream, or of the versions of one.
func (s *session) readState(name, of string, props iceberg.Properties) (*state, error) {
	text, ok := props[stateKey]
	if !ok {
		return nil, &stream.Problem{Type: typeForeign, Title: "a table of that name is there already", Blocked: true,
			Detail: name + " in namespace " + s.e.o.Namespace + " was not made by hubpipe", Hint: "name another namespace, or take the table away"}
	}
	st := &state{}
	if err := json.Unmarshal([]byte(text), st); err != nil {
		return nil, &stream.Problem{Type: typeForeign, Title: "the state of a table cannot be read", Blocked: true,
			Detail: fmt.Sprintf("property %s of %s: %v", stateKey, name, err), Hint: "put it back as it was, or drop the table: it is written anew then"}
	}
	if err := s.ours(st); err != nil || st.Of == of {
		return st, err
	}
	whose := "stream " + st.Stream
	if st.Of != "" {
		whose = "the versions of stream " + st.Of
	}
	return nil, &stream.Problem{Type: typeForeign, Title: "a table of that name is there already", Blocked: true,
		Detail: fmt.Sprintf("%s in namespace %s is that of %s", name, s.e.o.Namespace, whose), Hint: "give one of the two streams another label, or leave it out of the destination"}
}

// ours checks that this store, in this life or an earlier one, has written a table.
func (s *session) ours(st *state) error {
	switch {
	case st.Version != stateVersion:
		return &stream.Problem{Type: typeForeign, Title: "the table is of a later version of hubpipe", Blocked: true,
			Detail: fmt.Sprintf("the state of %s has version %d, and this hubpipe knows %d", st.Stream, st.Version, stateVersion), Hint: "run the later version, or name another namespace"}
	case st.Store != s.origin.Store:
		return &stream.Problem{Type: typeForeign, Title: "the table belongs to another data folder of hubpipe", Blocked: true,
			Detail: fmt.Sprintf("%s was written by store %s, and this one is %s", st.Stream, st.Store, s.origin.Store),
			Hint:   "name another namespace; or, where the other data folder is gone for good, drop the tables"}
	case st.Epoch > s.origin.Epoch:
		return &stream.Problem{Type: typeForeign, Title: "a later life of this data folder writes here", Blocked: true,
			Detail: fmt.Sprintf("the table was written in epoch %d of the store, and this is epoch %d", st.Epoch, s.origin.Epoch),
			Hint:   "of two copies of a data folder only one may write to a place: stop one, or name another namespace"}
	}
	return nil
}

// first is the state of a table that is made.
func (s *session) first(info *destination.Table) *state {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &state{Version: stateVersion, Stream: info.Name, Store: s.origin.Store, Epoch: s.origin.Epoch, Writer: s.writer, Committed: now, Mode: s.e.o.Mode, Whole: now,
		Choice: info.Rules.Key()}
}

// next is a state to be changed and committed behind another.
func (s *session) next(t *tableState) *state {
	out := *t.st
	out.Number, out.Writer, out.Committed = t.st.Number+1, s.writer, time.Now().UTC().Truncate(time.Millisecond)
	out.Store, out.Epoch, out.Mode, out.Choice = s.origin.Store, s.origin.Epoch, s.e.o.Mode, t.info.Rules.Key()
	out.Columns, out.Ignored = slices.Clone(t.columns), slices.Clone(t.ignored)
	if out.Reread != nil {
		r := *out.Reread
		out.Reread = &r
	}
	return &out
}

// again begins a rereading, or begins the one that goes on anew. sequence is what
// Iceberg will give the commit. It ends where the table is: what lies behind comes
// with the commits behind this one, which it does not replace, and would be there
// twice.
func (st *state) again(reason string, sequence int64) {
	anew := uint64(0)
	if was := st.Reread; was != nil {
		anew = was.Anew + 1
		reason = destination.Weightier(was.Reason, reason)
	}
	st.Reread = &rereading{Reason: reason, Until: st.Position, Began: st.Number, Writer: st.Writer, Sequence: sequence, Position: st.Position, Anew: anew}
	st.Erase = false
}

// owe notes that a batch has something that was erased: from is the place before it,
// to the one behind.
func (st *state) owe(from, to uint64) {
	st.Erase, st.Erased = true, to
	if st.Owed == nil {
		// Before the first commit it is nothing, and 0 is no place in a Place. A record
		// that is erased has been written before, so that this is never too much.
		owed := max(from, 1)
		st.Owed = &owed
	}
}

// summary is what a snapshot says of a state.
func (st *state) summary() iceberg.Properties {
	u := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return iceberg.Properties{storeKey: st.Store, epochKey: u(st.Epoch), positionKey: u(st.Position), commitKey: u(st.Number)}
}

// place is what the manager is told of a table.
func (s *session) place(t *tableState) destination.Place {
	st := t.st
	p := destination.Place{Table: st.Stream, Position: st.Position, Rows: st.Rows, Unparsed: st.Unparsed, Cleared: st.Position}
	if st.Number > 0 {
		p.LastCommit = st.Committed
	}
	if st.Owed != nil {
		p.Cleared = *st.Owed
	}
	if r := st.Reread; r != nil {
		p.Reread = &destination.Reread{Reason: r.Reason, Until: r.Until, Sweep: true, Anew: r.Anew, Why: r.Why}
		b := s.e.buildOf(t)
		if b != nil {
			p.Reread.Position = b.position
		}
		p.Reread.Every = t.fillable() && (b == nil || b.position == 0 || b.fills == t.beginning())
	}
	if v := t.v; v != nil && v.st.Owed != nil {
		p.Cleared = min(p.Cleared, *v.st.Owed)
	}
	for _, x := range []*tableState{t, t.v} {
		if x != nil && p.Untidy == nil && x.st.Reread == nil && !x.st.Erase {
			if p.Untidy = x.hinders(); p.Untidy == nil {
				p.Untidy = s.e.refusal(x.info.Name)
			}
		}
	}
	if t.taken {
		p.Held = t.held
	}
	return p
}
