package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Where the disk cannot be looked at, as with too few descriptors, all else is
// told, and the log says so once.
func TestFiguresThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newReloading(t, `stream "contacts" {}`)
	told := func() map[string]thing {
		t.Helper()
		r.figures.mu.Lock()
		r.figures.at = time.Time{}
		r.figures.mu.Unlock()
		things, err := r.things(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]thing{}
		for _, x := range things {
			out[x.kind] = x
		}
		return out
	}
	complaints := func() (n int) {
		for _, l := range r.events.Lines("", "warn", keptLines) {
			if l.Message == unreadFigures {
				n++
			}
		}
		return n
	}
	files, aside := filepath.Join(r.dir, "store", "badger"), filepath.Join(r.dir, "store", "aside")
	vanish := func() {
		t.Helper()
		if err := os.Rename(files, aside); err != nil {
			t.Fatal(err)
		}
	}
	appear := func() {
		t.Helper()
		if err := os.Rename(aside, files); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Rename(aside, files) }) // a store that cannot write does not stop
	before := told()[client.EventFigures]
	if f, ok := before.value.(client.Figures); !ok || f.StoreBytes == 0 {
		t.Fatalf("%+v", before)
	}
	vanish()
	first, second := told(), told()
	appear()
	for _, now := range []map[string]thing{first, second} {
		for _, kind := range []string{client.EventDaemon, client.EventStream, client.EventPortal} {
			if _, ok := now[kind]; !ok {
				t.Errorf("%s is not told", kind)
			}
		}
		// Not as if there were none any more.
		if f := now[client.EventFigures]; f.value != before.value {
			t.Errorf("the figures are %+v after %+v", f.value, before.value)
		}
	}
	if n := complaints(); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
	// The next time it is said again.
	told()
	vanish()
	told()
	appear()
	if n := complaints(); n != 2 {
		t.Errorf("the second time the log says so %d times", n)
	}
}
