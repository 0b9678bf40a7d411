package files

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/hubpipe/hubpipe/daemon/destination"
)

// Our own columns.
const (
	colID           = "id"
	colSeq          = "_hubpipe_seq"
	colState        = "_hubpipe_state"
	colSynced       = "_hubpipe_synced_at"
	colCreated      = "_hubpipe_created_at"
	colUpdated      = "_hubpipe_updated_at"
	colArchived     = "_hubpipe_archived_at"
	colMergedInto   = "_hubpipe_merged_into"
	colRaw          = "_hubpipe_properties"
	colAssociations = "_hubpipe_associations"
	colHistory      = "_hubpipe_history"

	// colDay is no column of the files: readers make one of the folder's name.
	colDay = "day"
)

// Column is a column as manifests describe it.
type Column struct {
	Name     string `json:"name"`
	Type     kind   `json:"type"`
	Property string `json:"property,omitempty"`
	Label    string `json:"label,omitempty"`
	// Handling is what is done with the values: destination.Rules.Mark.
	Handling string `json:"handling,omitempty"`
	// Undefined says that the type is that of the values that were seen.
	Undefined bool `json:"undefined,omitempty"`
	// Unparsed counts values that were none of the type, and were left out; Example
	// is the id of a record that has one.
	Unparsed uint64 `json:"unparsed,omitempty"`
	Example  string `json:"unparsed_example,omitempty"`
}

// layout is what the files of a stream look like from now on. It is never
// changed: another layout is another value.
type layout struct {
	columns    []Column       // in the order in which files have them, that of their names
	byProperty map[string]int // indices of columns
	own        own
	defined    bool            // the stream has definitions
	skipped    map[string]bool // properties that get no column
	schema     *parquet.Schema
	prints     []uint64 // of the columns' names, for digests
}

// own are the indices of our own columns, -1 where there is none.
type own struct {
	id, seq, state, synced, created, updated, archived, merged, raw, associations, history int
}

func (l *layout) owned() own {
	at := func(name string) int {
		return slices.IndexFunc(l.columns, func(c Column) bool { return c.Name == name && c.Property == "" })
	}
	return own{at(colID), at(colSeq), at(colState), at(colSynced), at(colCreated), at(colUpdated), at(colArchived), at(colMergedInto),
		at(colRaw), at(colAssociations), at(colHistory)}
}

// with are columns with those of properties that were met besides, and wider ones
// where values wanted that.
func with(has []Column, unknown map[string]kind, wide map[string]bool, rules *destination.Rules) []Column {
	out := slices.Clone(has)
	names := map[string]bool{colDay: true}
	for i := range out {
		names[strings.ToLower(out[i].Name)] = true
		if wide[out[i].Name] {
			out[i].Type = text
		}
	}
	properties := make([]string, 0, len(unknown))
	for p := range unknown {
		properties = append(properties, p)
	}
	slices.Sort(properties)
	for _, p := range properties {
		c := Column{Name: columnName(p, names), Type: unknown[p], Property: p, Undefined: true, Handling: rules.Mark(p)}
		names[strings.ToLower(c.Name)] = true
		out = append(out, c)
	}
	return out
}

// HandledAlike are the columns without those of properties that are handed over
// otherwise now.
func HandledAlike(has []Column, rules *destination.Rules) []Column {
	return slices.DeleteFunc(slices.Clone(has), func(c Column) bool { return c.Property != "" && rules.Mark(c.Property) != c.Handling })
}

// Where is the folder that has one for each stream.
func (e *Engine) Where() destination.Whereabouts {
	if e.url == nil {
		return destination.Whereabouts{}
	}
	return destination.Whereabouts{Location: e.url.Scheme + "://" + e.url.Host + strings.TrimSuffix(e.url.Path, "/")}
}

// Names are a stream's folder and the columns of properties.
func (e *Engine) Names(streamName string, properties []string) (table string, columns []string) {
	return streamName, Names(properties)
}

// Names are the columns of properties.
func Names(properties []string) (columns []string) {
	names := map[string]bool{colDay: true}
	for _, p := range properties {
		name := columnName(p, names)
		names[strings.ToLower(name)] = true
		columns = append(columns, name)
	}
	return columns
}

// maxName is how long a column's name may be, in bytes: that of Snowflake.
const maxName = 255

// columnName is what the column of a property is called: as the property,
// wherever that can be. Warehouses do not tell upper from lower case.
func columnName(property string, taken map[string]bool) string {
	name := clean(strings.ReplaceAll(property, "\x00", ""))
	lower := strings.ToLower(name)
	if name == property && name != "" && len(name) <= maxName && lower != colID && !strings.HasPrefix(lower, "_hubpipe_") && !taken[lower] {
		return name
	}
	sum := sha256.Sum256([]byte(property))
	mark := "_" + hex.EncodeToString(sum[:4])
	for len(name) > maxName-len(mark) {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return "p_" + strings.TrimLeft(name, "_") + mark
}

func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// newLayout makes a layout of columns.
func newLayout(columns []Column, skipped map[string]bool, defined bool) *layout {
	l := &layout{columns: slices.Clone(columns), byProperty: map[string]int{}, skipped: skipped, defined: defined}
	slices.SortFunc(l.columns, func(a, b Column) int { return cmp.Compare(a.Name, b.Name) })
	codec := &zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}
	optional := func(n parquet.Node) parquet.Node { return parquet.Optional(parquet.Compressed(n, codec)) }
	group := parquet.Group{}
	for i, c := range l.columns {
		l.prints = append(l.prints, hash([]byte(c.Name)))
		if c.Property != "" {
			l.byProperty[c.Property] = i
		}
		var n parquet.Node
		switch c.Type {
		case number:
			n = optional(parquet.Leaf(parquet.DoubleType))
		case integer:
			n = parquet.Compressed(parquet.Int(64), codec)
		case boolean:
			n = optional(parquet.Leaf(parquet.BooleanType))
		case date:
			n = optional(parquet.Date())
		case timestamp:
			n = optional(parquet.Timestamp(parquet.Millisecond))
		case texts:
			n = parquet.Optional(parquet.List(parquet.Compressed(parquet.String(), codec)))
		case nested:
			n = optional(parquet.JSON())
		case text:
			n = optional(parquet.String())
		}
		switch c.Name {
		case colID:
			n = parquet.Compressed(parquet.String(), codec)
		case colState:
			n = parquet.Encoded(parquet.Compressed(parquet.String(), codec), &parquet.RLEDictionary)
		}
		group[c.Name] = n
	}
	l.own = l.owned()
	l.schema = parquet.NewSchema("record", group)
	return l
}
