package worker

import (
	"context"
	"errors"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Source is HubSpot as one attempt sees it. Its calls block until there is an
// answer, the context ends, or asking again is of no use; they may be repeated.
// A failure that a person or the daemon has to hear of is a *ProblemError.
type Source interface {
	// Account asks whose data the token reads.
	Account(ctx context.Context) (protocol.Account, error)
	// Definitions reads what properties an object has.
	Definitions(ctx context.Context, object string) (Definitions, error)
	// List reads a page of the list of an object, of the live or of the archived
	// records, from after ("" is the beginning); without properties it brings
	// ids and versions only.
	List(ctx context.Context, object, after string, properties []string, archived bool) (ListPage, error)
	// Newest is the greatest id that an object's live records have, 0 where that
	// is not known.
	Newest(ctx context.Context, object string) (uint64, error)
	// Count is how many records search has in a window.
	Count(ctx context.Context, object string, w Window) (int, error)
	// SearchNewest asks for several windows in one request.
	SearchNewest(ctx context.Context, object string, windows []Window) (Newest, error)
	// ProveWindow lists a window completely and emits it by and by, or says where
	// to split it, or returns ErrDoesNotAddUp; what was emitted before is of the
	// window in any case. An error of emit ends it and is returned.
	ProveWindow(ctx context.Context, object string, w Window, emit func([]protocol.Listed) error) (*Split, error)
	// ReadAll reads the wanted records, emits them as they come, and returns
	// those that cannot be read; every id is in one or the other. Where the
	// history of properties is asked for, a part of it comes with each record
	// that is there in the version wanted. An error of emit ends it and is
	// returned.
	ReadAll(ctx context.Context, object string, want []protocol.Listed, r ReadRequest, emit func([]protocol.Record, []protocol.Part) error) (Unread, error)
	// Associations reads with which records of other objects records are
	// associated: a part for each id, of up to a thousand, of which HubSpot says
	// it.
	Associations(ctx context.Context, object string, with, ids []string) ([]protocol.Part, error)
	// Quiet names the properties whose values never make a change by themselves.
	Quiet(names []string)
	// Rows reads a page of the rows of a stream outside the CRM's contract. What
	// belongs to a parent that HubSpot does not know, or does not hand out, is
	// ErrUnreadable; what is too much of several inputs together, ErrTooMany.
	Rows(ctx context.Context, object string, r RowsRequest) (RowsPage, error)
	// Now is HubSpot's time less 2 s, in ms; 0 before its first reply.
	Now() int64
	// Requests counts the requests made in all.
	Requests() uint64
	// Crowded tells whether requests wait for HubSpot's limits, so that more of
	// them at once bring nothing sooner.
	Crowded() bool
}

// Portal gives an attempt its Source, which reports why it waits, nil when it
// goes on, and each reply that it gets. The limits of the portal are shared by
// all that it gives.
type Portal func(waits func(*protocol.Wait), replied func()) Source

// Definitions are an object's properties: the names in any order, the
// definitions as one line of JSON, and HubSpot's time of asking in ms.
type Definitions struct {
	Names []string
	JSON  []byte
	AsOf  int64
}

// ReadRequest says what to read of records: which properties, and of which of
// them the history. Archived says where the records are looked for first.
type ReadRequest struct {
	Properties, History []string
	Archived            bool
}

// Unread are wanted ids that were not read: Open could not be, Gone are those
// that HubSpot has neither live nor archived.
type Unread struct {
	Open []protocol.OpenID
	Gone []protocol.OpenID
	// Old are readings of open ids that are older than what was wanted.
	Old []protocol.Record
}

// ListPage is a page of a list; Next is "" at its end. Open are ids that it
// named and that could not be read.
type ListPage struct {
	Records []protocol.Record
	Open    []protocol.OpenID
	Next    string
	// Release, where it is set, may be called once nobody looks at the records
	// any more: their memory serves for another page.
	Release func()
}

// RowsRequest asks for a page of rows: of Parent, as its address has it, which
// ids call Name, or of several Inputs at once, all pages of them; behind Place, the Next of the
// page before; of the archived ones; from From to To, in ms, both included.
type RowsRequest struct {
	Parent, Name string
	Inputs       []string
	Place        string
	Archived     bool
	From, To     int64
}

// RowsPage is a page of rows; Next is "" at its end. Unnamed counts rows that
// cannot be told apart, and are left out; Unread are inputs for which HubSpot
// answers with an error.
type RowsPage struct {
	Records []protocol.Record
	Unnamed int
	Unread  []string
	Next    string
}

// Window is a half-open span of modification times in ms, and of ids. Hi 0 is
// open; IDLo and IDHi 0 are unbounded. Where Has names properties it is of the
// records that have a value of one of them.
type Window struct {
	Lo, Hi     int64
	IDLo, IDHi uint64
	Has        []string
}

// Newest is what one search over several windows said: each id once. Total is how
// many search has in them; Began is HubSpot's time of the reply less 2 s, in ms;
// Proved says that nothing of the windows is missing.
type Newest struct {
	Hits   []protocol.Listed
	Total  int
	Began  int64
	Proved bool
}

// Split is where a window wants to be divided: one of the two is set.
type Split struct {
	At int64
	ID uint64
}

// ErrDoesNotAddUp says that search contradicts itself: the range has to be
// read by list.
var ErrDoesNotAddUp = errors.New("the parts of a search window do not add up to the whole")

// ErrUnreadable says that HubSpot does not hand out what belongs to a parent;
// what belongs to others is not touched by it.
var ErrUnreadable = errors.New("HubSpot does not hand these out")

// ErrTooMany says that several inputs have more rows together than are read at
// once.
var ErrTooMany = errors.New("they have more rows together than are read at once")

// ProblemError is a failure in the words that the daemon shows.
type ProblemError struct{ protocol.Problem }

func (e *ProblemError) Error() string {
	if e.Detail == "" {
		return e.Title
	}
	return e.Title + ": " + e.Detail
}
