//go:build iceberg

package iceberg_test

import (
	"testing"
	"time"

	ice "github.com/apache/iceberg-go"

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
