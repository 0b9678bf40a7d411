package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hubpipe/hubpipe/daemon/destination"
)

// maxName is how long a name may be, in bytes: PostgreSQL cuts what is longer
// without a word.
const maxName = 63

// The columns of every stream's table besides those of its properties.
const (
	colID         = "id"
	colSeq        = "_hubpipe_seq"
	colState      = "_hubpipe_state"
	colSynced     = "_hubpipe_synced_at"
	colCreated    = "_hubpipe_created_at"
	colUpdated    = "_hubpipe_updated_at"
	colArchived   = "_hubpipe_archived_at"
	colMergedInto = "_hubpipe_merged_into"
	colRaw        = "_hubpipe_properties"
)

// ownColumns are the first ones of every stream's table, in their order, with
// their types.
func ownColumns() [][2]string {
	return [][2]string{{colID, "text"}, {colSeq, "bigint"}, {colState, "text"}, {colSynced, "timestamptz"}, {colCreated, "timestamptz"},
		{colUpdated, "timestamptz"}, {colArchived, "timestamptz"}, {colMergedInto, "text"}}
}

// taken are names that no column of a property may have: our own, and those
// that every table of PostgreSQL has anyway.
func taken(name string) bool {
	return name == colID || strings.HasPrefix(name, "_hubpipe_") ||
		slices.Contains([]string{"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "oid"}, name)
}

// columnName is what the column of a property is called: as the property,
// wherever that can be. It depends on nothing but the property, so that it is
// the same in every destination and after every new beginning.
func columnName(property string) string {
	name := strings.ToValidUTF8(strings.ReplaceAll(property, "\x00", ""), "")
	if name == property && name != "" && len(name) <= maxName && !taken(name) {
		return name
	}
	return marked(name, property)
}

// Where is the database, and the schema in it.
func (e *Engine) Where() destination.Whereabouts {
	out := destination.Whereabouts{Schema: e.o.Schema}
	if e.config != nil {
		out.Database = e.config.Database
	}
	return out
}

// Names are a stream's table and the columns of properties.
func (e *Engine) Names(streamName string, properties []string) (table string, columns []string) {
	for _, p := range properties {
		columns = append(columns, columnName(p))
	}
	return tableName(streamName), columns
}

// tableName is what a table is called that should have the name.
func tableName(name string) string {
	if len(name) <= maxName {
		return name
	}
	return marked(name, name)
}

// marked shortens a name where it has to be, and ends it with a mark of what it
// stands for.
func marked(name, of string) string {
	sum := sha256.Sum256([]byte(of))
	mark := "_" + hex.EncodeToString(sum[:4])
	for len(name) > maxName-len(mark) {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return name + mark
}

// quote makes an identifier of a name, whatever is in it.
func quote(name string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(name, "\x00", ""), `"`, `""`) + `"`
}

// literal makes a text constant.
func literal(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", ""), "'", "''") + "'"
}
