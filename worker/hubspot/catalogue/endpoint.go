package catalogue

import (
	"net/url"
	"strings"
)

// Paging says how a reply tells that there is more.
type Paging int

// The ways.
const (
	// PagingNone: one reply has all.
	PagingNone Paging = iota
	// PagingAfter: paging.next.after, sent back as after; absent at the end.
	PagingAfter
	// PagingOffset: offset and hasMore in the reply; offset is sent back
	// unchanged, whatever it looks like. There is more while hasMore is true.
	PagingOffset
	// PagingInput: each result may have its own paging.next.after, sent back
	// beside the id of the input that it belongs to.
	PagingInput
)

// Clock says how rows write times.
type Clock int

// The ways.
const (
	ISO   Clock = iota // text as in RFC 3339
	Milli              // milliseconds since 1970, a number or its digits
)

// Address is an endpoint in one version of the API.
type Address struct {
	// Version is what it is called: "2026-09", "v3".
	Version string
	// Path is the address below the host. {parent} stands for what Parent
	// gives, escaped; a pair gives {from} and {to}.
	Path string
	// Paging says how its replies go on.
	Paging Paging
	// PageSize is the most rows that one request may ask for, by the parameter
	// "limit" (lists: "count", in the body); 0 where there is no such parameter.
	PageSize int
	// Results is the member of the reply that is the array of rows; empty
	// where the reply itself is the one row, or the array.
	Results string
}

// ParentKind says what a stream is read for.
type ParentKind int

// The kinds.
const (
	// ParentNone: the stream is read as one.
	ParentNone ParentKind = iota
	// ParentStream: for each live row of another stream.
	ParentStream
	// ParentObjectTypes: for each object of the CRM that the portal's streams
	// read, custom ones included.
	ParentObjectTypes
	// ParentPairs: for each pair of objects whose associations are read.
	ParentPairs
	// ParentPairRecords: for each live record of the first object of each pair
	// that the stream names.
	ParentPairRecords
	// ParentEventObjects: for each object that HubSpot tells events of, the
	// portal's own ones that its streams read among them.
	ParentEventObjects
)

// Parent says for what a stream is read again and again.
type Parent struct {
	Kind ParentKind
	// Stream is the other stream, for ParentStream.
	Stream string
	// Field is the field of the other stream's rows that stands in the address
	// or in the inputs; empty for their key.
	Field string
	// Changed are the fields of a parent that differ when its children may
	// have changed. Where none is named the children are always read.
	Changed []string
	// Settled is a field of a parent with what it says when its children are
	// all there. While it says anything else HubSpot still works them out: what
	// is missing has not gone, and they are read again.
	Settled Param
}

// Param is a parameter of a request.
type Param struct{ Name, Value string }

// End says how a row that is gone shows.
type End int

// The ways.
const (
	// EndAbsent: it is missing from a whole read.
	EndAbsent End = iota
	// EndArchivedPass: with archived=true the endpoint gives the archived rows
	// and nothing else, in a pass of its own.
	EndArchivedPass
	// EndField: the row stays and its field EndField is set.
	EndField
	// EndNever: rows are events, and do not end.
	EndNever
)

// Endpoint says where the rows of a stream outside the CRM's contract are, and
// what is in them. It is complete: a reader needs no case for a stream.
type Endpoint struct {
	// Method is GET, or POST with a body.
	Method string
	// Addresses are the versions that serve it, the one to ask first in front.
	Addresses []Address
	// Query are parameters that are sent with each request.
	Query []Param
	// ParentQuery is the parameter that takes the parent, where it does not stand
	// in the address; a windowed stream is asked for each of them.
	ParentQuery string
	// Body are members of the body that are sent with each POST, as JSON.
	Body []Param
	// PageInBody says that limit and place stand in the body.
	PageInBody bool
	// Parent says for what it is read again and again.
	Parent Parent
	// Inputs is how many parents one POST may name; 0 where the parent stands
	// in the address.
	Inputs int
	// InputField is the member of an input that holds the parent: {"id": …};
	// empty where an input is the text itself.
	InputField string
	// InputPath is where a result says which input it belongs to; empty where it
	// does not matter.
	InputPath string
	// Key are the fields that name a row, together; a dot reaches into an
	// object ("from.id"). Where the parent belongs to it, "{parent}" stands among them.
	Key []string
	// KeyHash says that two rows may agree in Key: a hash of the row's content
	// is part of its key.
	KeyHash bool
	// Parts is the member of a row that holds an array, each element of which
	// is a row of its own with the other members around it; mostly empty.
	Parts string
	// Around are the members of such a row that do not come from its element,
	// instead of all others: each with where its value stands, which is written
	// as text. {from} and {to} are the objects of a pair.
	Around []Param
	// Union is the member that is an array without an order: it is brought into
	// one, by UnionKey, the fields that name an element, and rows of one name are a
	// row with the elements of all.
	Union    string
	UnionKey []string
	// Time is the field that says when a row changed (or happened, for
	// events), and Clock how it is written; empty where nothing says so.
	Time  string
	Clock Clock
	// Volatile are the fields that never make a change by themselves: they
	// differ in every reply.
	Volatile []string
	// From and To are the parameters that bound Time at the server, written by
	// Clock; empty where the server cannot.
	From, To string
	// MaxOffset is the place above which the server refuses; 0 for none.
	MaxOffset int
	// End says how a row that is gone shows, EndField by which field.
	End      End
	EndField string
	// Partial says that the server leaves rows out without a word: what is
	// absent has not gone.
	Partial bool
}

// In returns the address in a version, and whether there is one.
func (e Endpoint) In(version string) (Address, bool) {
	for _, a := range e.Addresses {
		if a.Version == version {
			return a, true
		}
	}
	return Address{}, false
}

// For returns the path with a parent in it; for pairs the parent is
// "contacts/companies".
func (a Address) For(parent string) string {
	from, to, _ := strings.Cut(parent, "/")
	return strings.NewReplacer("{parent}", url.PathEscape(parent),
		"{from}", url.PathEscape(from), "{to}", url.PathEscape(to)).Replace(a.Path)
}
