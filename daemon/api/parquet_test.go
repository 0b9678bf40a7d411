package api_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// table reads a Parquet file as rows of text, and the types of its columns.
func table(t *testing.T, file []byte) (types map[string]string, rows []map[string]string) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	types = map[string]string{}
	var names []string
	for _, c := range f.Root().Columns() {
		types[c.Name()] = c.Type().String()
		names = append(names, c.Name())
	}
	for _, g := range f.RowGroups() {
		r := g.Rows()
		for {
			buf := make([]parquet.Row, 1)
			n, err := r.ReadRows(buf)
			if n == 1 {
				row := map[string]string{}
				for i, v := range buf[0] {
					if !v.IsNull() {
						row[names[i]] = v.String()
					}
				}
				rows = append(rows, row)
			}
			if err == io.EOF { //nolint:errorlint // as the library gives it
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = r.Close()
	}
	return types, rows
}

// A Parquet file has a column a property, of HubSpot's type; what is no value of
// that type is null, and a property that is called as one of our columns has
// another name.
func TestExportParquet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.schema = []byte(`[{"name":"amount","type":"number"},{"name":"won","type":"bool"},{"name":"day","type":"date"},` +
		`{"name":"at","type":"datetime"},{"name":"stage","type":"enumeration"},{"name":"note","type":"string"}]`)
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "7", CreatedAt: "2024-07-31T08:04:34.171Z", Synced: 1700000000000},
		Properties:   []byte(`{"amount":"12.5","won":"true","day":"1969-12-31","at":"2024-07-31T08:04:34.171Z","stage":"lead","note":"a\nü","id":"x","extra":{"a":1}}`),
		Associations: []byte(`{"companies":[]}`)})
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "8"}, Properties: []byte(`{"amount":"many","won":"","day":"soon","at":"1722412800000","stage":"","note":null}`)})
	b.d.add("contacts", stream.Record{Head: stream.Head{ID: "9", State: stream.Purged}})
	get := func(query string) []byte {
		res := do(t, b, "GET", "/v1/streams/contacts/export?format=parquet"+query, "")
		file, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/vnd.apache.parquet" || res.Header.Get("Content-Encoding") != "" {
			t.Fatalf("%s %v %v", res.Status, res.Header, err)
		}
		return file
	}
	types, rows := table(t, get(""))
	wantTypes := map[string]string{"id": "STRING", "_hubpipe_seq": "INT(64,true)", "_hubpipe_state": "STRING", "amount": "DOUBLE", "won": "BOOLEAN",
		"day": "DATE", "stage": "STRING", "note": "STRING", "_property_id": "STRING", "extra": "STRING", "_hubpipe_merged_into": "STRING",
		"_hubpipe_associations": "JSON", "_hubpipe_history": "JSON"}
	for _, name := range []string{"at", "_hubpipe_synced_at", "_hubpipe_created_at", "_hubpipe_updated_at", "_hubpipe_archived_at"} {
		wantTypes[name] = "TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS)"
	}
	if diff := cmp.Diff(wantTypes, types); diff != "" {
		t.Errorf("types: %s", diff)
	}
	at := fmt.Sprint(time.Date(2024, 7, 31, 8, 4, 34, 171e6, time.UTC).UnixMilli())
	want := []map[string]string{
		{"id": "7", "_hubpipe_seq": "1", "_hubpipe_state": "live", "_hubpipe_created_at": at, "_hubpipe_synced_at": "1700000000000", "amount": "12.5",
			"won": "true", "day": "-1", "at": at, "stage": "lead", "note": "a\nü", "_property_id": "x", "extra": `{"a":1}`, "_hubpipe_associations": `{"companies":[]}`},
		{"id": "8", "_hubpipe_seq": "2", "_hubpipe_state": "live", "at": "1722412800000", "stage": ""},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows: %s", diff)
	}
	types, rows = table(t, get("&state=all&fields=note,stage"))
	if len(rows) != 3 || types["note"] == "" || types["stage"] == "" || types["amount"] != "" || rows[2]["_hubpipe_state"] != "purged" {
		t.Errorf("of chosen fields and states: %v %v", types, rows)
	}
	if _, rows := table(t, get("&state=merged")); len(rows) != 0 {
		t.Errorf("of none: %v", rows)
	}
}

// One that breaks off is no file.
func TestExportParquetThatBreaksOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.d.fill("contacts", 200)
	b.d.breakAt = "150"
	res := do(t, b, "GET", "/v1/streams/contacts/export?format=parquet&fields=email", "")
	file, err := io.ReadAll(res.Body)
	if _, wrong := parquet.OpenFile(bytes.NewReader(file), int64(len(file))); err == nil && res.StatusCode == http.StatusOK && wrong == nil {
		t.Error("a part is a file")
	}
}
