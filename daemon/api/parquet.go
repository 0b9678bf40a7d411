package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Columns of a Parquet file that are ours, under the names that they have in
// warehouses.
const (
	columnID           = "id"
	columnSeq          = "_hubpipe_seq"
	columnState        = "_hubpipe_state"
	columnSynced       = "_hubpipe_synced_at"
	columnCreated      = "_hubpipe_created_at"
	columnUpdated      = "_hubpipe_updated_at"
	columnArchived     = "_hubpipe_archived_at"
	columnMerged       = "_hubpipe_merged_into"
	columnAssociations = "_hubpipe_associations"
	columnHistory      = "_hubpipe_history"
)

// Bounds of what is gathered of a file before it is sent: a group of rows is
// held packed, a page of each column as it is.
const (
	groupBytes    = 48 << 20 // of values, before they are packed
	groupRows     = 200_000
	parquetBuffer = 64 << 10
	batchRows     = 64
)

// rows writes records as rows of a Parquet file.
type rows struct {
	// The generic writer that is to be used instead costs another 2 MB of the
	// binary, for types that nobody writes here.
	w       *parquet.Writer   //nolint:staticcheck // see above
	columns map[string]column // of properties, by their names
	own     map[string]int    // indices of our columns
	row     parquet.Row       // the one that is gathered
	batch   []parquet.Row     // of those that are, n
	n       int
	held    int
	rows    int
	strict  bool // whether a property without a column is an error
}

// column is where a property goes and as what.
type column struct {
	index int
	kind  string // of HubSpot's definition; "" is text
}

// newRows begins a file with a column for each of the properties; types are
// those of HubSpot's definitions, by name.
func newRows(w io.Writer, properties []string, types map[string]string, strict bool) *rows {
	codec := &zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}
	optional := func(n parquet.Node) parquet.Node { return parquet.Optional(parquet.Compressed(n, codec)) }
	moment := func() parquet.Node { return optional(parquet.Timestamp(parquet.Millisecond)) }
	group := parquet.Group{
		columnID:      parquet.Compressed(parquet.String(), codec),
		columnSeq:     parquet.Compressed(parquet.Int(64), codec),
		columnState:   parquet.Encoded(parquet.Compressed(parquet.String(), codec), &parquet.RLEDictionary),
		columnSynced:  moment(),
		columnCreated: moment(), columnUpdated: moment(), columnArchived: moment(), columnMerged: optional(parquet.String()),
		columnAssociations: optional(parquet.JSON()), columnHistory: optional(parquet.JSON()),
	}
	taken := make(map[string]bool, len(group)+len(properties))
	for own := range group {
		taken[own] = true
	}
	names := make(map[string]string, len(properties))
	for _, p := range properties {
		name := columnName(p, taken)
		names[p] = name
		switch types[p] {
		case "number":
			group[name] = optional(parquet.Leaf(parquet.DoubleType))
		case "bool":
			group[name] = optional(parquet.Leaf(parquet.BooleanType))
		case "date":
			group[name] = optional(parquet.Date())
		case "datetime":
			group[name] = moment()
		case "enumeration":
			group[name] = parquet.Optional(parquet.Encoded(parquet.Compressed(parquet.String(), codec), &parquet.RLEDictionary))
		default:
			group[name] = optional(parquet.String())
		}
	}
	schema := parquet.NewSchema("record", group)
	index := make(map[string]int, len(group))
	for i, path := range schema.Columns() {
		index[path[0]] = i
	}
	out := &rows{columns: make(map[string]column, len(properties)), own: index, batch: make([]parquet.Row, batchRows), strict: strict}
	for i := range out.batch {
		out.batch[i] = make(parquet.Row, len(group))
	}
	for p, name := range names {
		out.columns[p] = column{index[name], types[p]}
	}
	out.w = parquet.NewWriter(w, schema, parquet.PageBufferSize(parquetBuffer), parquet.CreatedBy("hubpipe", "", ""))
	return out
}

// columnName is the name of a property's column, which is taken from then on: a
// property that is called as one of ours has a word before it.
func columnName(property string, taken map[string]bool) string {
	for taken[property] {
		property = "_property_" + property
	}
	taken[property] = true
	return property
}

// put sets a column of the row that is gathered.
func (x *rows) put(index int, v parquet.Value, level int) {
	x.row[index] = v.Level(0, level, index)
}

// optional sets one of our columns to text, or leaves it null.
func (x *rows) optional(name, v string) {
	if v != "" {
		x.put(x.own[name], parquet.ByteArrayValue([]byte(v)), 1)
		x.held += len(v)
	}
}

// moment sets one of our columns to a time.
func (x *rows) moment(name, v string) {
	if t, ok := momentOf(v); ok {
		x.put(x.own[name], parquet.Int64Value(t.UnixMilli()), 1)
	}
}

// write adds a record.
func (x *rows) write(r *stream.Record) error {
	x.row = x.batch[x.n]
	for i := range x.row {
		x.row[i] = parquet.NullValue().Level(0, 0, i)
	}
	x.put(x.own[columnID], parquet.ByteArrayValue([]byte(r.ID)), 0)
	x.put(x.own[columnSeq], parquet.Int64Value(int64(min(r.Seq, math.MaxInt64))), 0) //nolint:gosec // positions begin at 1
	x.put(x.own[columnState], parquet.ByteArrayValue([]byte(r.State)), 0)
	if r.Synced > 0 {
		x.put(x.own[columnSynced], parquet.Int64Value(r.Synced), 1)
	}
	x.moment(columnCreated, r.CreatedAt)
	x.moment(columnUpdated, r.UpdatedAt)
	x.moment(columnArchived, r.ArchivedAt)
	x.optional(columnMerged, r.MergedInto)
	x.optional(columnAssociations, string(r.Associations))
	x.optional(columnHistory, string(r.History))
	err := eachProperty(r.Properties, func(name string, v jsontext.Value) error {
		c, ok := x.columns[name]
		if !ok {
			if x.strict {
				return errNewProperty
			}
			return nil
		}
		x.held += len(v)
		if value, ok := valueAs(c.kind, v); ok {
			x.put(c.index, value, 1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record %s: %w", r.ID, err)
	}
	if x.n++; x.n < batchRows && x.held < groupBytes {
		return nil
	}
	return x.pass()
}

// pass hands over the rows that are gathered, and ends a group that is full.
func (x *rows) pass() error {
	if _, err := x.w.WriteRows(x.batch[:x.n]); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	x.rows += x.n
	x.n = 0
	if x.held < groupBytes && x.rows < groupRows {
		return nil
	}
	x.held, x.rows = 0, 0
	if err := x.w.Flush(); err != nil {
		return fmt.Errorf("write a group of rows: %w", err)
	}
	return nil
}

// close ends the file.
func (x *rows) close() error {
	if err := x.pass(); err != nil {
		return err
	}
	if err := x.w.Close(); err != nil {
		return fmt.Errorf("end the file: %w", err)
	}
	return nil
}

// valueAs is a value of a property as its column has it; false is null, also
// for what is no value of the column's type.
func valueAs(kind string, v jsontext.Value) (parquet.Value, bool) {
	text := cell(v)
	if text == "" && (v.Kind() == 'n' || kind != "" && kind != "string" && kind != "enumeration") {
		return parquet.Value{}, false
	}
	switch kind {
	case "number":
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		return parquet.DoubleValue(f), err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
	case "bool":
		b, err := strconv.ParseBool(strings.ToLower(strings.TrimSpace(text)))
		return parquet.BooleanValue(b), err == nil
	case "date":
		t, ok := momentOf(text)
		days := t.Unix() / (24 * 60 * 60)
		if t.Unix() < 0 && t.Unix()%(24*60*60) != 0 {
			days--
		}
		return parquet.Int32Value(int32(days)), ok //nolint:gosec // four digits of a year
	case "datetime":
		t, ok := momentOf(text)
		return parquet.Int64Value(t.UnixMilli()), ok
	}
	return parquet.ByteArrayValue([]byte(text)), true
}

// momentOf reads a time as HubSpot writes it: RFC 3339, a day, or milliseconds
// since 1970.
func momentOf(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	t := time.UnixMilli(ms).UTC()
	return t, err == nil && t.Year() >= 1 && t.Year() <= 9999
}

// propertiesIn are the names of the properties that records have, sorted.
func propertiesIn(ctx context.Context, data View, name string, wanted func(*stream.Record) bool) ([]string, error) {
	found := map[string]struct{}{}
	_, err := data.Changes(ctx, name, 0, 0, func(rec *stream.Record) error {
		if !wanted(rec) {
			return nil
		}
		return eachProperty(rec.Properties, func(p string, _ jsontext.Value) error {
			found[p] = struct{}{}
			return nil
		})
	})
	return slices.Sorted(maps.Keys(found)), err
}

// exportParquet writes a column a property, of HubSpot's type. Which there are
// only the records tell, so that without fields they are read twice.
func (s *Server) exportParquet(w http.ResponseWriter, r *http.Request, data View, name string, fields []string, wanted func(*stream.Record) bool) error {
	definitions, err := s.definitions(data, name)
	if err != nil {
		return err
	}
	types := make(map[string]string, len(definitions))
	for _, p := range definitions {
		types[p.Name] = p.Type
	}
	o := newOutput(w, mediaParquet)
	if r.Method == http.MethodHead {
		return s.end(o, r, nil)
	}
	all := fields == nil
	if all {
		if fields, err = propertiesIn(r.Context(), data, name, wanted); err != nil {
			return err
		}
	}
	file := newRows(writing{o}, fields, types, all)
	_, err = data.Changes(r.Context(), name, 0, 0, func(rec *stream.Record) error {
		if !wanted(rec) {
			return nil
		}
		return file.write(rec)
	})
	// Without its end it is no file, so that nobody takes a part for the whole.
	if err == nil {
		err = file.close()
	}
	if errors.Is(err, errReader) {
		err = errReader
	}
	return s.end(o, r, err)
}
