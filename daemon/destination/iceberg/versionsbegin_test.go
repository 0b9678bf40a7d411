//go:build iceberg

package iceberg_test

import (
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
)

// What versions begin with is read up to where they begin: a writing anew that had
// begun before does not come as far.
func TestVersionsBeginWhileWrittenAnew(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := historied(t, iceberg.Options{Mode: mode})
			r.keeps(0)
			r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"two"}`))
			d := r.session()
			d.write(0)
			d.reread(d.place.Position)
			r.Put("contacts", record("2", `{"a":"new"}`), record("3", `{"a":"three"}`))
			d.place.Reread = nil
			d.write(d.place.Position)
			r.keeps(time.Hour)
			d = r.session() // they begin here
			d.write(0)
			d.step(d.s.Swept(t.Context(), "contacts"))
			r.Start()
			r.filled("1|live|one", "2|live|new", "3|live|three")
			r.whole()
		})
	}
}

// Where the stream's table is dropped before what versions begin with was read, they
// begin with it all the same.
func TestVersionsBeginBesideNewTable(t *testing.T) {
	t.Parallel()
	r, c := historied(t, iceberg.Options{})
	r.keeps(0)
	r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"two"}`))
	d := r.session()
	d.write(0)
	r.keeps(time.Hour)
	r.session() // they begin here
	c.mu.Lock()
	delete(c.tables, "contacts")
	c.mu.Unlock()
	if d = r.session(); d.place.Reread != nil {
		t.Errorf("an empty table is written anew: %+v", d.place.Reread)
	}
	r.Start()
	r.filled("1|live|one", "2|live|two")
	r.whole()
}

// The version that a record had where versions begin is one, though it has changed
// before that was read.
func TestVersionsBeginWithWhatChangesSince(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := historied(t, iceberg.Options{Mode: mode})
			r.keeps(0)
			r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"two"}`))
			r.Start()
			r.Current()
			r.again(func() {
				r.keeps(time.Hour)
				if d := r.session(); d.place.Reread == nil { // else the store may let go of what it will read
					t.Error("it does not say that it reads the feed again")
				}
				r.Put("contacts", record("2", `{"a":"new"}`))
				r.Put("contacts", record("2", `{"a":"newer"}`))
			})
			r.filled("1|live|one", "2|live|two", "2|live|new", "2|live|newer")
			r.resync()
			r.filled("1|live|one", "2|live|two", "2|live|new", "2|live|newer")
			r.whole()
			if rows := len(r.rows("contacts")); rows != 2 {
				t.Errorf("the table beside has %d rows", rows)
			}
		})
	}
}
