package destination

import (
	"bytes"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Types of columns, whatever a warehouse calls them.
const (
	TypeText      = "string"
	TypeNumber    = "double"
	TypeInteger   = "int64" // of our own columns alone
	TypeBoolean   = "boolean"
	TypeDate      = "date"
	TypeTimestamp = "timestamp"
	TypeTexts     = "list<string>"
	TypeJSON      = "json"
)

// TypeOf is the type of a property's column, by HubSpot's definition. An
// enumeration of which several values may be chosen is a list of them.
func TypeOf(p stream.Property) string {
	switch p.Type {
	case "number":
		return TypeNumber
	case "bool", "boolean":
		return TypeBoolean
	case "date":
		return TypeDate
	case "datetime":
		return TypeTimestamp
	case "enumeration":
		if p.FieldType == "checkbox" {
			return TypeTexts
		}
	}
	return TypeText
}

// TypeSeen is the type of a column for which there is no definition, by the first
// value that is seen, which is JSON and not null.
func TypeSeen(raw []byte) string {
	switch raw[0] {
	case '{', '[':
		return TypeJSON
	case 't', 'f':
		return TypeBoolean
	case '"':
		// Nothing but digits may be milliseconds, and is an id more often.
		if _, ok := Moment(raw[1 : len(raw)-1]); ok && bytes.IndexByte(raw, '-') > 1 {
			return TypeTimestamp
		}
		return TypeText
	}
	return TypeNumber
}
