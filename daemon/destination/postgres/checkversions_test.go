package postgres_test

import (
	"math"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// A table of versions is held against what the store has of them, and it is said
// of how many there is nothing.
func TestVersionsChecked(t *testing.T) {
	t.Parallel()
	r := newHistory(t, pgserver.Start(t), postgres.Options{})
	keep := func(other uint64) {
		r.Src.KeepVersions(map[string]store.Keep{"contacts": {For: time.Hour, Readers: map[string]uint64{"warehouse": math.MaxUint64, "other": other}}})
	}
	keep(math.MaxUint64)
	r.Define("contacts", "a string", "b number")
	r.Put("contacts", at(record("1", `{"a":"one"}`), "01-01", "02-01"), at(record("2", `{"a":"x","b":"1"}`), "01-01", "02-01"))
	r.Start()
	r.settled()
	r.Put("contacts", at(record("1", `{"a":"two"}`), "01-02", "02-02"))
	r.settled()
	keep(0) // from here on somebody else has read nothing
	r.Put("contacts", at(record("1", `{"a":"three\\tand"}`), "01-03", "02-03"))
	r.settled()
	check := func() destination.CheckedVersions {
		t.Helper()
		list, err := r.M.Check(t.Context(), "warehouse")
		if err != nil || list[0].Versions == nil || list[0].Note != "" {
			t.Fatalf("%+v %v", list, err)
		}
		if v := list[0].Versions; list[0].Equal() != v.Equal() {
			t.Errorf("%+v is equal, and with its versions not: %+v", list[0], v)
		}
		return *list[0].Versions
	}
	v := check()
	if !v.Equal() || v.Written.Rows["live"] != 2 || v.WrittenBefore.Count() != 1 || v.Before != 2 || len(v.Skipped) != 0 {
		t.Errorf("it says %+v", v)
	}
	for _, tt := range []struct{ name, change, back string }{
		{"another value of what is", "UPDATE contacts__versions SET b = 2 WHERE id = '2'", "UPDATE contacts__versions SET b = 1 WHERE id = '2'"},
		{"two that are current", "UPDATE contacts__versions SET _hubpipe_current = true WHERE a = 'one'", "UPDATE contacts__versions SET _hubpipe_current = false WHERE a = 'one'"},
		{"another value of what was", "UPDATE contacts__versions SET a = 'tow' WHERE a = 'two'", "UPDATE contacts__versions SET a = 'two' WHERE a = 'tow'"},
		{"what was is missing", "UPDATE contacts__versions SET id = '1x' WHERE a = 'two'", "UPDATE contacts__versions SET id = '1' WHERE id = '1x'"},
	} {
		r.sql(tt.change)
		if v := check(); v.Equal() {
			t.Errorf("%s: it says %+v", tt.name, v)
		}
		r.sql(tt.back)
		if v := check(); !v.Equal() {
			t.Errorf("%s, and back: it says %+v", tt.name, v)
		}
	}
	// What the store has let go it cannot tell of.
	r.sql("UPDATE contacts__versions SET a = 'eno' WHERE a = 'one'")
	if v := check(); !v.Equal() {
		t.Errorf("of what nobody knows it says %+v", v)
	}
	r.sql("CREATE VIEW v AS SELECT b FROM contacts__versions")
	r.Define("contacts", "a string", "b string")
	r.poke()
	r.settled()
	if v := check(); !v.Equal() || len(v.Skipped) != 1 || v.Skipped[0] != "b" {
		t.Errorf("of a column of another type it says %+v", v)
	}
}
