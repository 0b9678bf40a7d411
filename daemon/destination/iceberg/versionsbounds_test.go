//go:build iceberg

package iceberg_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
)

// What was erased is not in the manifests of versions either.
func TestErasureFromManifestsOfVersions(t *testing.T) {
	t.Parallel()
	for _, off := range []bool{false, true} {
		t.Run(map[bool]string{false: "erased", true: "switched off"}[off], func(t *testing.T) {
			t.Parallel()
			r, _ := historied(t, iceberg.Options{Keep: time.Millisecond})
			const canary = "+44 555 1234"
			d := r.session()
			r.Put("contacts", record("0", `{"a":"none"}`))
			d.write(0)
			r.set(versionsTable, ice.Properties{"write.metadata.metrics.default": "truncate(16)"})
			d.prepare()
			r.Put("contacts", record("1", `{"a":"`+canary+`"}`))
			d.write(d.place.Position)
			if where := r.bounds(versionsTable, canary); len(where) == 0 {
				t.Fatal("no manifest has it: this test shows nothing")
			}
			if off {
				r.keeps(0)
			}
			r.Put("contacts", erased("1"))
			head := r.Src.PositionOf("contacts")
			r.Start()
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && s.Streams[0].Place.Cleared >= head
			})
			if where := r.bounds(versionsTable, canary); len(where) > 0 {
				t.Errorf("it still stands in %v", where)
			}
		})
	}
}

// Files that lie elsewhere, and may have what was erased, are not forgotten when all
// versions go.
func TestVersionsElsewhere(t *testing.T) {
	t.Parallel()
	r, c := historied(t, iceberg.Options{Keep: time.Millisecond})
	d := r.session()
	r.set(versionsTable, ice.Properties{"write.data.path": "file://" + c.dir + "/elsewhere"})
	d.prepare()
	r.Put("contacts", record("1", `{"a":"one"}`))
	d.write(d.place.Position)
	r.Put("contacts", erased("1"))
	d.write(d.place.Position)
	d.step(d.s.Tend(t.Context(), "contacts", d.place.Position)) // which takes its version away
	r.look(versionsTable, func(tbl *table.Table) {
		if n := tbl.CurrentSnapshot().Summary.Properties["total-data-files"]; n != "1" {
			t.Errorf("%s files have the one row that is left", n)
		}
	})
	r.set(versionsTable, ice.Properties{"write.data.path": c.root + "/" + versionsTable + "/data"})
	d.prepare()
	for i := range 20 {
		r.Put("contacts", record("2", fmt.Sprintf(`{"a":"%d"}`, i)))
		d.place.Reread = nil
		d.write(d.place.Position)
	}
	r.o.Compact = time.Millisecond
	r.Start()
	r.Eventually("files written together", func() bool { return r.files(versionsTable) == 1 })
	r.Until(func(s destination.Status) bool { return s.Error != nil })
	r.again(func() { r.keeps(0) })
	r.Eventually("no versions", func() bool { return r.files(versionsTable) == 0 })
	if s := r.Until(func(s destination.Status) bool { return s.Error != nil || s.State == destination.Current }); s.Error == nil || !strings.Contains(s.Error.Detail, "elsewhere") {
		t.Errorf("it says %+v", s.Error)
	}
}
