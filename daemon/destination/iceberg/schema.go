//go:build iceberg

package iceberg

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Our own columns that are never empty.
const (
	colID    = "id"
	colSeq   = "_hubpipe_seq"
	colState = "_hubpipe_state"
)

// maxName is how long a column's name may be, in bytes.
const maxName = 255

// undotted is a column's name without dots, which name what lies within a column.
func undotted(name string) string {
	if !strings.Contains(name, ".") {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	mark := "_" + hex.EncodeToString(sum[:4])
	name = strings.ReplaceAll(name, ".", "_")
	name = name[:min(len(name), maxName-len(mark))]
	return strings.ToValidUTF8(name, "") + mark
}

func plain(columns []files.Column) []files.Column {
	for i := range columns {
		columns[i].Name = undotted(columns[i].Name)
	}
	return columns
}

// columnsFor are the columns that a stream needs, by those that it has.
func (s *session) columnsFor(has []files.Column, info destination.Table, d *files.Drift) []files.Column {
	return plain(d.Columns(has, info, s.e.o.Raw))
}

// typeOf is a column's type in Iceberg. The element's id is given by whoever makes
// it a schema.
func typeOf(c *files.Column) iceberg.Type {
	switch string(c.Type) {
	case destination.TypeNumber:
		return iceberg.PrimitiveTypes.Float64
	case destination.TypeInteger:
		return iceberg.PrimitiveTypes.Int64
	case destination.TypeBoolean:
		return iceberg.PrimitiveTypes.Bool
	case destination.TypeDate:
		return iceberg.PrimitiveTypes.Date
	case destination.TypeTimestamp:
		return iceberg.PrimitiveTypes.TimestampTz
	case destination.TypeTexts:
		return &iceberg.ListType{ElementID: -1, Element: iceberg.PrimitiveTypes.String}
	}
	return iceberg.PrimitiveTypes.String
}

// sameType tells whether a field of a table is a column's.
func sameType(t iceberg.Type, c *files.Column) bool {
	want := typeOf(c)
	if l, ok := t.(*iceberg.ListType); ok {
		w, ok := want.(*iceberg.ListType)
		return ok && l.Element.Equals(w.Element)
	}
	return t.Equals(want)
}

// schemaOf is the schema of a table that is made. What tells rows apart are columns
// of our own.
func schemaOf(columns []files.Column, apart ...string) *iceberg.Schema {
	fields := make([]iceberg.NestedField, 0, len(columns))
	var ids []int
	next := len(columns)
	for i := range columns {
		c := &columns[i]
		f := iceberg.NestedField{ID: i + 1, Name: c.Name, Type: typeOf(c), Doc: c.Label, Required: required(c)}
		if l, ok := f.Type.(*iceberg.ListType); ok {
			next++
			l.ElementID = next
		}
		if slices.Contains(apart, c.Name) && c.Property == "" {
			ids = append(ids, f.ID)
		}
		fields = append(fields, f)
	}
	return iceberg.NewSchemaWithIdentifiers(0, ids, fields...)
}

func required(c *files.Column) bool {
	return c.Property == "" && slices.Contains([]string{colID, colSeq, colState}, c.Name)
}

// reshape makes a table have the columns, and begins to write everything again
// where there is a reason, or where a column has become another: Iceberg makes no
// text of numbers. What has another type is a column anew, of the same name.
func (s *session) reshape(ctx context.Context, t *tableState, reason string) error {
	var add, gone []files.Column
	schema := t.tbl.Schema()
	for _, c := range t.columns {
		f, ok := schema.FindFieldByName(c.Name)
		switch {
		case !ok:
			add = append(add, c)
		case c.Property != "" && !named(t.st.Columns, c.Name):
			return yours(&c, t.info.Name)
		case !sameType(f.Type, &c):
			add, gone = append(add, c), append(gone, c)
		}
	}
	for _, c := range t.st.Columns { // of which nothing is to be left
		kept := slices.ContainsFunc(t.columns, func(x files.Column) bool { return x.Name == c.Name && x.Handling == c.Handling })
		if _, there := schema.FindFieldByName(c.Name); !kept && there && c.Property != "" && !named(gone, c.Name) {
			gone = append(gone, c)
			if i := slices.IndexFunc(t.columns, func(x files.Column) bool { return x.Name == c.Name }); i >= 0 && !named(add, c.Name) {
				add = append(add, t.columns[i])
			}
		}
	}
	lost := slices.ContainsFunc(add, func(c files.Column) bool { return named(t.st.Columns, c.Name) })
	if reason == "" && lost && t.st.Number > 0 {
		reason = destination.ReasonColumns
	}
	if reason == "" && len(add)+len(gone) == 0 {
		return nil // labels come with the next commit
	}
	st := s.next(t)
	if reason != "" {
		st.again(reason, t.sequence())
	}
	return s.commit(ctx, t, st, func(tx *table.Transaction) error {
		if len(add)+len(gone) > 0 {
			u := tx.UpdateSchema(true, true)
			for _, c := range gone {
				u.DeleteColumn([]string{c.Name})
			}
			for _, c := range add {
				u.AddColumn([]string{c.Name}, typeOf(&c), c.Label, false, nil)
			}
			if err := u.Commit(); err != nil {
				return err
			}
		}
		return s.empty(ctx, t, tx, st)
	})
}

// yours is why a table cannot have a column.
func yours(c *files.Column, name string) error {
	return &stream.Problem{Type: typeForeign, Title: "a column of yours has the name of a property", Blocked: true,
		Detail: fmt.Sprintf("column %s of %s was not made by hubpipe, and property %s has to have it", c.Name, name, c.Property),
		Hint:   "rename your column, or leave the property out with exclude"}
}

func named(columns []files.Column, name string) bool {
	return slices.ContainsFunc(columns, func(c files.Column) bool { return c.Name == name })
}

// empty stages a snapshot without rows: who has read the one before is refused.
func (s *session) empty(ctx context.Context, t *tableState, tx *table.Transaction, st *state) error {
	schema, err := table.SchemaToArrowSchema(t.tbl.Schema(), nil, true, false)
	if err != nil {
		return err
	}
	none, err := array.NewRecordReader(schema, []arrow.RecordBatch{})
	if err != nil {
		return err
	}
	defer none.Release()
	return tx.Append(ctx, none, st.summary())
}
