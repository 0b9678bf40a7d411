package daemon

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// An export as a destination gets a stream has what its settings choose, and
// nothing else.
func TestAsDestination(t *testing.T) {
	t.Parallel()
	d := restingDaemon(t, store.Options{FreeMark: 1})
	tx, err := d.store.Begin()
	if err != nil {
		t.Fatal(err)
	}
	rec := &stream.Record{Head: stream.Head{ID: "1", State: stream.Live, Version: 1}, Properties: []byte(`{"email":"a@b.c","zip":"12345","plain":"x","secret":"a@b.c"}`)}
	if err := tx.Put("contacts", rec); err != nil {
		t.Fatal(err)
	}
	if err := tx.PutSchema("contacts", []byte(`[{"name":"email","type":"string"},{"name":"zip","type":"number"},{"name":"plain","type":"string"},{"name":"secret","type":"string","sensitive":true}]`)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	m, err := destination.New(t.Context(), destination.Options{Source: &feed{Store: d.store, d: d}, Path: filepath.Join(t.TempDir(), "d.json"), Salt: d.store.Salt})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	m.Set(destinationSpecs(&config.Config{Streams: []config.Stream{{Name: "contacts", Object: "contacts"}, {Name: "deals", Object: "deals"}}, Destinations: []config.Destination{{
		Type: config.TypePostgres, Name: "warehouse", Streams: []string{"contacts"}, Problem: "not tried here",
		PII: config.PIIHash, Exclude: []string{"secret"}, Truncate: []config.Truncate{{Pattern: "contacts.zip", Length: 2}}}}}))
	data := dataAdapter{Store: d.store, shown: &d.shown, destinations: m}
	v, err := data.As("warehouse", "contacts")
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	if _, err := v.Changes(t.Context(), "contacts", 0, 0, func(r *stream.Record) error { got = string(r.Properties); return nil }); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got, "a@b.c") || !strings.Contains(got, `"zip":"12","plain":"x"}`) || !strings.HasPrefix(got, `{"email":"`) {
		t.Errorf("it gets %s", got)
	}
	schema, err := v.Schema("contacts")
	if err != nil || strings.Contains(string(schema), "secret") || strings.Contains(string(schema), "number") || !strings.Contains(string(schema), "(hashed)") {
		t.Errorf("its definitions are %s: %v", schema, err)
	}
	for _, wrong := range [][2]string{{"nothing", "contacts"}, {"warehouse", "deals"}} {
		if _, err := data.As(wrong[0], wrong[1]); err == nil {
			t.Errorf("there is a view of %v", wrong)
		}
	}
	// What a person reads before a reload says what it does to the tables.
	was, now := config.Destination{Name: "w", PII: config.PIIKeep}, config.Destination{Name: "w", PII: config.PIIHash}
	if diff := differing(settingsOfDestination(was), settingsOfDestination(now)); len(diff) != 1 || !strings.Contains(diff[0], "pii: keep → hash (values that are not chosen any more are taken away") {
		t.Errorf("the plan says %q", diff)
	}
}
