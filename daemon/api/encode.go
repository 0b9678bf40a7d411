package api

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// AppendRecord appends a record as one line of JSON without its end. Property
// values are written as they are stored; with fields only those, in their
// order, null where the record has none. History is there where the stream
// keeps some and it has been read.
func AppendRecord(b []byte, r *stream.Record, fields []string) ([]byte, error) {
	b = append(b, `{"id":`...)
	b = appendString(b, r.ID)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	b = append(b, `,"state":`...)
	b = appendString(b, string(r.State))
	b = appendOptional(append(b, `,"createdAt":`...), r.CreatedAt)
	b = appendOptional(append(b, `,"updatedAt":`...), r.UpdatedAt)
	b = appendOptional(append(b, `,"archivedAt":`...), r.ArchivedAt)
	b = appendOptional(append(b, `,"mergedInto":`...), r.MergedInto)
	b = append(b, `,"properties":`...)
	var err error
	switch {
	case len(r.Properties) == 0:
		b = append(b, "{}"...)
	case fields != nil:
		if b, err = appendFields(b, r.Properties, fields); err != nil {
			return b, fmt.Errorf("record %s: %w", r.ID, err)
		}
	case bytes.ContainsAny(r.Properties, "\n\r"):
		// A line break between values would end the line.
		v := jsontext.Value(bytes.Clone(r.Properties))
		if err := v.Compact(); err != nil {
			return b, fmt.Errorf("record %s: %w", r.ID, err)
		}
		b = append(b, v...)
	default:
		b = append(b, r.Properties...)
	}
	b = append(b, `,"associations":`...)
	if len(r.Associations) == 0 {
		b = append(b, "{}"...)
	}
	b = append(b, r.Associations...)
	if len(r.History) > 0 {
		b = append(append(b, `,"history":`...), r.History...)
	}
	return append(b, '}'), nil
}

func appendString(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, s)
	if err != nil { // the one error there is: bytes that are not UTF-8
		out, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\ufffd"))
	}
	return out
}

// appendOptional appends text, or null for none.
func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}

// appendFields appends the object of those properties alone.
func appendFields(b []byte, properties []byte, fields []string) ([]byte, error) {
	values := make(map[string]jsontext.Value, len(fields))
	for _, f := range fields {
		values[f] = jsontext.Value("null")
	}
	err := eachProperty(properties, func(name string, v jsontext.Value) error {
		if _, ok := values[name]; ok {
			values[name] = v.Clone()
		}
		return nil
	})
	if err != nil {
		return b, err
	}
	b = append(b, '{')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, f), ':')
		b = append(b, values[f]...)
	}
	return append(b, '}'), nil
}

// eachProperty gives the members of a JSON object in their order; a value is
// good until fn returns.
func eachProperty(properties []byte, fn func(name string, v jsontext.Value) error) error {
	if len(properties) == 0 {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(properties), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if kind := dec.PeekKind(); kind != '{' {
		return fmt.Errorf("the properties are no JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return fmt.Errorf("read the properties: %w", err)
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return fmt.Errorf("read the properties: %w", err)
		}
		text := name.String()
		v, err := dec.ReadValue()
		if err != nil {
			return fmt.Errorf("read property %s: %w", Clip(text), err)
		}
		if err := fn(text, v); err != nil {
			return err
		}
	}
	return nil
}
