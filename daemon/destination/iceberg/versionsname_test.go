//go:build iceberg

package iceberg_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
)

// A stream and another's table of versions that have one name do not take each
// other's table: it is whose it was first, and the other waits.
func TestVersionsOfOneName(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"contacts", versionsTable} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			r, _ := historied(t, iceberg.Options{})
			r.Streams = append(r.Streams, destination.Stream{Name: versionsTable, Object: "contacts"})
			if first != "contacts" {
				slices.Reverse(r.Streams)
			}
			r.Put("contacts", record("1", `{"a":"one"}`))
			r.Put(versionsTable, record("2", `{"a":"two"}`))
			r.Start()
			s := r.Until(func(s destination.Status) bool { return s.State == destination.Blocked && len(s.Streams) == 2 })
			if s.Error.Type != "destination-foreign" || !strings.Contains(s.Error.Detail, versionsTable) {
				t.Errorf("it says %+v", s.Error)
			}
			r.filledNow([]string{map[bool]string{true: "1|live|one", false: "2|live|two"}[first == "contacts"]})
		})
	}
}

// A stream's table that is dropped and made again knows of the versions beside: they
// go when they are wanted no more.
func TestVersionsOutlastTheTable(t *testing.T) {
	t.Parallel()
	for _, atOnce := range []bool{false, true} {
		t.Run(map[bool]string{false: "off later", true: "off at once"}[atOnce], func(t *testing.T) {
			t.Parallel()
			r, c := historied(t, iceberg.Options{})
			r.Put("contacts", record("1", `{"a":"one"}`))
			r.Start()
			r.filled("1|live|one")
			drop := func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.tables, "contacts")
			}
			if !atOnce {
				r.again(drop)
				r.whole()
				drop = func() {}
			}
			r.again(func() { drop(); r.keeps(0) })
			r.filled()
			r.whole()
		})
	}
}
