package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// stateEvery is after how many records a loader is told where it could go on.
const stateEvery = 1000

// exchange writes a stream's change feed as the lines of a protocol that
// loaders of others read: the schema, records, and the place behind them.
type exchange interface {
	schema(name string, properties map[string]any) any
	record(name string, data map[string]any, at time.Time) any
	state(name string, seq uint64, since int) any
}

// singer is https://hub.meltano.com/singer/spec.
type singer struct{}

func (singer) schema(name string, properties map[string]any) any {
	return map[string]any{"type": "SCHEMA", "stream": name, "schema": map[string]any{"type": "object", "properties": properties},
		"key_properties": []string{"id"}, "bookmark_properties": []string{"_hubpipe_seq"}}
}

func (singer) record(name string, data map[string]any, at time.Time) any {
	return map[string]any{"type": "RECORD", "stream": name, "record": data, "time_extracted": at.UTC().Format(time.RFC3339)}
}

func (singer) state(name string, seq uint64, _ int) any {
	return map[string]any{"type": "STATE", "value": map[string]any{"bookmarks": map[string]any{name: map[string]any{"since": strconv.FormatUint(seq, 10)}}}}
}

// airbyte is https://docs.airbyte.com/platform/understanding-airbyte/airbyte-protocol.
type airbyte struct{}

func (airbyte) schema(name string, properties map[string]any) any {
	return map[string]any{"type": "CATALOG", "catalog": map[string]any{"streams": []any{map[string]any{"name": name,
		"json_schema":           map[string]any{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": properties},
		"supported_sync_modes":  []string{"full_refresh", "incremental"},
		"source_defined_cursor": true, "default_cursor_field": []string{"_hubpipe_seq"}, "source_defined_primary_key": [][]string{{"id"}}}}}}
}

func (airbyte) record(name string, data map[string]any, at time.Time) any {
	return map[string]any{"type": "RECORD", "record": map[string]any{"stream": name, "data": data, "emitted_at": at.UnixMilli()}}
}

func (airbyte) state(name string, seq uint64, since int) any {
	return map[string]any{"type": "STATE", "state": map[string]any{"type": "STREAM", "stream": map[string]any{
		"stream_descriptor": map[string]any{"name": name}, "stream_state": map[string]any{"since": strconv.FormatUint(seq, 10)}},
		"sourceStats": map[string]any{"recordCount": since}}}
}

// loaderType is the JSON schema of a property by HubSpot's definition.
func loaderType(p client.Property) map[string]any {
	switch p.Type {
	case "number":
		return map[string]any{"type": []string{"null", "number"}}
	case "bool":
		return map[string]any{"type": []string{"null", "boolean"}}
	case "datetime":
		return map[string]any{"type": []string{"null", "string"}, "format": "date-time"}
	case "date":
		return map[string]any{"type": []string{"null", "string"}, "format": "date"}
	}
	return map[string]any{"type": []string{"null", "string"}}
}

// loaderValue is a property's value as its schema has it: null where it is no
// value of that type.
func loaderValue(kind string, raw json.RawMessage) any {
	var text string
	if json.Unmarshal(raw, &text) != nil { // null, or of a stream that is no object of the CRM
		if kind == "" && len(raw) > 0 && raw[0] != 'n' {
			return string(raw)
		}
		return raw
	}
	trimmed := strings.TrimSpace(text)
	switch kind {
	case "number":
		if !json.Valid([]byte(trimmed)) || trimmed == "" || !strings.ContainsRune("-0123456789", rune(trimmed[0])) {
			return nil
		}
		return json.Number(trimmed)
	case "bool":
		if b, err := strconv.ParseBool(strings.ToLower(trimmed)); err == nil {
			return b
		}
		return nil
	case "date", "datetime":
		t, ok := loaderTime(trimmed)
		switch {
		case !ok:
			return nil
		case kind == "date":
			return t.Format(time.DateOnly)
		}
		return t.Format(time.RFC3339Nano)
	}
	return text
}

// loaderTime reads a time as HubSpot writes it: RFC 3339, a day, or
// milliseconds since 1970.
func loaderTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	return time.UnixMilli(ms).UTC(), err == nil
}

// ownColumns are those of ours in a loader's schema.
func ownColumns() map[string]any {
	text := map[string]any{"type": []string{"null", "string"}}
	moment := map[string]any{"type": []string{"null", "string"}, "format": "date-time"}
	return map[string]any{"id": map[string]any{"type": "string"}, "_hubpipe_seq": map[string]any{"type": "integer"},
		"_hubpipe_state": map[string]any{"type": "string"}, "_hubpipe_created_at": moment, "_hubpipe_updated_at": moment,
		"_hubpipe_archived_at": moment, "_hubpipe_merged_into": text, "_hubpipe_associations": map[string]any{"type": []string{"null", "object"}}}
}

// loaderColumn is a property's column: one that is called as one of ours has a
// word before it, as in other exports.
func loaderColumn(own map[string]any, property string) string {
	if own[property] != nil {
		return "_property_" + property
	}
	return property
}

// loaderProperties are HubSpot's definitions. What is no object of the CRM has
// none: there the records are looked through for what they have, which is text.
func loaderProperties(ctx context.Context, d *client.Client, name string) ([]client.Property, error) {
	list, errSchema := d.Schema(ctx, name)
	if p, ok := errors.AsType[*client.Problem](errSchema); errSchema != nil && (!ok || p.Type != client.TypeNoSchema) || len(list) > 0 {
		return list, errSchema
	}
	found := map[string]bool{}
	for r, err := range d.Changes(ctx, name, client.ChangeQuery{}) {
		if err != nil {
			return nil, err
		}
		var values map[string]json.RawMessage
		if err := json.Unmarshal(r.Properties, &values); err != nil {
			return nil, fmt.Errorf("record %s: read the properties: %w", r.ID, err)
		}
		for p := range values {
			if !found[p] {
				found[p] = true
				list = append(list, client.Property{Name: p})
			}
		}
	}
	if len(list) == 0 {
		return nil, errSchema
	}
	return list, nil
}

// writeExchange writes a stream's changes after since in a protocol, and ends
// with the place that it reached.
func writeExchange(ctx context.Context, w io.Writer, d *client.Client, name string, x exchange, q client.ChangeQuery, fields []string) error {
	defined, err := loaderProperties(ctx, d, name)
	if err != nil {
		return err
	}
	own, properties, kinds := ownColumns(), ownColumns(), map[string]string{}
	for _, p := range defined {
		if fields == nil || slices.Contains(fields, p.Name) {
			properties[loaderColumn(own, p.Name)], kinds[p.Name] = loaderType(p), p.Type
		}
	}
	out := bufio.NewWriterSize(w, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(x.schema(name, properties)); err != nil {
		return err
	}
	n, last, now := 0, uint64(0), time.Now()
	for r, err := range d.Changes(ctx, name, q) {
		if err != nil {
			return err
		}
		data, err := loaderData(&r, own, kinds, fields)
		if err != nil {
			return fmt.Errorf("record %s: %w", r.ID, err)
		}
		if n, last = n+1, r.Seq; n == 1 || n%stateEvery == 0 {
			now = time.Now()
		}
		if err := enc.Encode(x.record(name, data, now)); err != nil {
			return err
		}
		if n%stateEvery == 0 {
			if err := enc.Encode(x.state(name, last, stateEvery)); err != nil {
				return err
			}
		}
	}
	if n%stateEvery > 0 {
		if err := enc.Encode(x.state(name, last, n%stateEvery)); err != nil {
			return err
		}
	}
	return out.Flush()
}

func loaderData(r *client.Record, own map[string]any, kinds map[string]string, fields []string) (map[string]any, error) {
	data := map[string]any{"id": r.ID, "_hubpipe_seq": r.Seq, "_hubpipe_state": r.State, "_hubpipe_created_at": r.CreatedAt,
		"_hubpipe_updated_at": r.UpdatedAt, "_hubpipe_archived_at": r.ArchivedAt, "_hubpipe_merged_into": r.MergedInto, "_hubpipe_associations": r.Associations}
	var values map[string]json.RawMessage
	if err := json.Unmarshal(r.Properties, &values); err != nil {
		return nil, fmt.Errorf("read the properties: %w", err)
	}
	for p, raw := range values {
		if fields == nil || slices.Contains(fields, p) {
			data[loaderColumn(own, p)] = loaderValue(kinds[p], raw)
		}
	}
	return data, nil
}
