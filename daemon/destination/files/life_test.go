package files_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Whatever fails, before or after it was done, and however often it begins anew:
// each record is there, as the store has it, and no reader sees half a batch.
func TestWhateverFails(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			at := s3(t)
			r := newRig(t, at, files.Options{Format: format, AccessKey: "k", SecretKey: "s", FileSize: 30 << 10})
			writes := 0
			at.fails(func(q *http.Request) *fault {
				if q.Method != http.MethodPut && q.Method != http.MethodPost {
					return nil
				}
				writes++
				manifest := strings.Contains(q.URL.Path, "manifest-")
				switch {
				case writes%11 == 3, manifest && writes%4 == 1:
					return &fault{status: 400, code: "InvalidRequest"}
				case writes%11 == 7, manifest && writes%5 == 2:
					return &fault{done: true, status: 400, code: "InvalidRequest"}
				case writes%29 == 0:
					return &fault{done: true} // the library asks again by itself
				}
				return nil
			})
			for round := range 6 {
				if round > 0 {
					r.Stop()
				}
				r.Put("contacts", fill(3000, fmt.Sprint(round))[round*200:]...)
				r.Put("contacts", ended(fmt.Sprint(1000+round), stream.Purged))
				r.Start()
				if round%2 == 0 {
					r.Until(func(s destination.Status) bool { return s.Rows > 0 || s.Failures > 0 })
				} else {
					r.Current()
				}
			}
			r.Current()
			at.fails(nil)
			if writes < 15 {
				t.Errorf("%d requests wrote something", writes)
			}
			r.same("contacts")
			r.Equal()
			if err := r.M.Resync("lake", ""); err != nil {
				t.Fatal(err)
			}
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.manifest("contacts").Snapshots > 0
			})
			r.once("contacts")
			r.same("contacts")
			r.Equal()
		})
	}
}

// A reader who goes by the manifest sees whole commits at any time: every place
// that it names is there with all that lies before it.
func TestReadersSeeWholeCommits(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{FileSize: 20 << 10, Compact: time.Millisecond, Keep: time.Hour})
	r.Put("contacts", fill(4000, "a")...)
	r.Start()
	r.Current() // what changes while it is first read is read at neither place
	for round := range 8 {
		r.Put("contacts", fill(4000, fmt.Sprint(round))[round*400:]...)
		m := r.manifest("contacts")
		ids, top := map[string]bool{}, 0
		for _, f := range m.Files {
			for _, x := range rowsOf(t, f.Path, r.at.read(f.Path)) {
				ids[x["id"]] = true
				top = max(top, x.Seq())
			}
		}
		if top > int(m.Position) { //nolint:gosec // far below
			t.Errorf("a row has place %d, and the manifest says %d", top, m.Position)
		}
		if len(ids) != 4000 {
			t.Errorf("at place %d there are %d records", m.Position, len(ids))
		}
	}
	r.Current()
	r.same("contacts")
}

// Two daemons with one data folder do not write over each other: a commit of one
// is refused, and what it says comes true.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]place{"folder": local(t), "s3": s3(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s", FileSize: 20 << 10})
			if name == "folder" {
				r.o.AccessKey = ""
			}
			r.Put("contacts", fill(3000, "a")...)
			r.Start()
			other := r.Beside()
			other.Start()
			for round := range 5 {
				r.Put("contacts", fill(1000, fmt.Sprint(round))...)
				r.Current()
				other.Current()
			}
			// Each manifest is made of the one before: one that was written by somebody who
			// did not know of it would lack its files.
			r.Stop()
			other.Stop()
			var before []files.File
			newest := uint64(len(at.keys("contacts/_hubpipe/manifest-")))
			for n := uint64(1); n <= newest; n++ {
				var m files.Manifest
				if err := json.Unmarshal(at.read(fmt.Sprintf("contacts/_hubpipe/manifest-%010d.json", n)), &m); err != nil {
					t.Fatal(err)
				}
				for _, f := range before {
					if !slices.Contains(m.Files, f) {
						t.Errorf("manifest %d lacks %s, which the one before has", n, f.Path)
					}
				}
				before = m.Files
			}
			// The slower one may have shown readers its manifest last.
			r.Start()
			r.Eventually("the newest manifest", func() bool { return r.manifest("contacts").Number >= newest })
			r.Current()
			r.same("contacts")
		})
	}
}

// A snapshot has each record once. The files before stay a while and go then, as
// does what nobody has named; what is not ours stays.
func TestSnapshotBySchedule(t *testing.T) {
	t.Parallel()
	at := local(t)
	r := newRig(t, at, files.Options{Compact: 24 * time.Hour})
	r.Put("contacts", fill(500, "a")...)
	r.Start()
	r.Current()
	r.Put("contacts", fill(500, "b")[:300]...)
	r.Put("contacts", ended("1001", stream.Archived), ended("1002", stream.Merged))
	r.Current()
	before := at.keys("contacts/day=")
	r.Stop()
	orphan := strings.Replace(before[0], "0000000001-000", "0000000009-000", 1)
	write(t, at, orphan, "half a file")
	write(t, at, "contacts/day=2020-01-01/mine.parquet", "somebody's")
	r.o.Compact = time.Millisecond
	r.Start()
	r.Until(func(s destination.Status) bool {
		return s.State == destination.Current && r.manifest("contacts").Snapshots > 0
	})
	r.once("contacts")
	r.same("contacts")
	m := r.manifest("contacts")
	if len(m.Files) != 1 || m.Files[0].Rows != 500 || len(m.Removed) != len(before) {
		t.Errorf("the manifest has %+v, and %d removed", m.Files, len(m.Removed))
	}
	for _, k := range before {
		if !slices.Contains(at.keys(""), k) {
			t.Errorf("%s has gone while somebody may read it", k)
		}
	}
	r.Equal()
	r.Stop()
	r.o.Compact, r.o.Keep = 24*time.Hour, time.Millisecond
	r.Start()
	r.Eventually("the old files' end", func() bool { return len(at.keys("contacts/day=")) == 2 })
	if keys := at.keys("contacts/day="); !slices.Contains(keys, "contacts/day=2020-01-01/mine.parquet") {
		t.Errorf("there are %v", keys)
	}
	r.Eventually("a manifest without them", func() bool { return len(r.manifest("contacts").Removed) == 0 })
	r.Equal()
}

// A record that moves while a snapshot is read is in neither reading of it. When
// the snapshot is shown it has to be there, though what is new may wait for long.
func TestWhatMovesIsNotMissed(t *testing.T) {
	t.Parallel()
	at := s3(t)
	r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s", Compact: time.Millisecond})
	r.Gather = time.Hour
	moved := false
	at.fails(func(q *http.Request) *fault {
		if q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, "manifest-0000000002.json") && !moved {
			moved = true // the snapshot begins with it
			r.Put("contacts", record("1", `{"email":"moved"}`))
		}
		return nil
	})
	r.Put("contacts", fill(3, "a")...)
	r.Put("contacts", record("1", `{"email":"first"}`))
	r.Start()
	r.Current()
	r.Eventually("a snapshot", func() bool { return r.manifest("contacts").Snapshots > 0 })
	if x := r.table("contacts"); len(x) != 4 || x["1"]["email"] != "moved" {
		t.Errorf("the files have %v", x)
	}
	r.same("contacts")
}

// With deletes = "delete" a snapshot has live records alone.
func TestDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{Delete: true, Compact: time.Millisecond})
	r.Put("contacts", record("1", `{"a":"x"}`), record("2", `{"a":"y"}`))
	r.Start()
	r.Current()
	r.Put("contacts", ended("2", stream.Archived))
	r.Current()
	r.Eventually("a snapshot", func() bool { return len(r.table("contacts")) == 1 })
	r.Equal()
}

// What was erased leaves every file, those of snapshots that were being written
// too, and until then the place says that it has not.
func TestErasure(t *testing.T) {
	t.Parallel()
	at := local(t)
	r := newRig(t, at, files.Options{Keep: 100 * time.Millisecond})
	r.Put("contacts", record("1", `{"email":"canary@example.com"}`), record("2", `{"email":"other@example.com"}`))
	r.Start()
	r.Current()
	r.Put("contacts", record("2", `{"email":"third@example.com"}`))
	r.Current()
	r.Put("contacts", erased("1"))
	head := r.Src.PositionOf("contacts")
	r.Until(func(s destination.Status) bool { return s.Streams[0].Place.Cleared >= head })
	for _, k := range at.keys("") {
		if !strings.Contains(k, "/day=") {
			continue
		}
		for _, x := range rowsOf(t, k, at.read(k)) {
			if x["id"] == "1" && (x["email"] != "" || x["_hubpipe_state"] != "purged") {
				t.Errorf("%s still has %v", k, x)
			}
		}
	}
	if x := r.table("contacts"); x["1"]["_hubpipe_state"] != "purged" || x["2"]["email"] != "third@example.com" {
		t.Errorf("the table is %v", x)
	}
	r.Equal()
}

// After a restore the files are written anew from the beginning. Until the store
// has been held against HubSpot, what it has lost stays.
func TestAnotherEpoch(t *testing.T) {
	t.Parallel()
	at := local(t)
	r := newRig(t, at, files.Options{})
	r.Put("contacts", record("1", `{"a":"x"}`), record("2", `{"a":"y"}`), record("3", `{"a":"z"}`))
	r.Put("contacts", record("1", `{"a":"newer"}`))
	r.Start()
	r.Current()
	r.Stop()

	restored := newRig(t, at, r.o)
	restored.Src.Become(r.Src.ID(), 1)
	restored.Src.Settle(false)
	restored.Put("others", fill(20, "x")...) // positions begin above
	restored.Put("contacts", record("1", `{"a":"x"}`), record("2", `{"a":"y"}`))
	restored.Start()
	restored.Until(func(s destination.Status) bool {
		p := s.Streams[0].Place
		return p.Reread != nil && p.Reread.Reason == destination.ReasonEpoch && p.Reread.Position >= p.Reread.Until && s.Behind == 0
	})
	if x := restored.table("contacts"); x["3"]["a"] != "z" {
		t.Errorf("before the reconcile the files have %v", x)
	}
	restored.Put("contacts", record("4", `{"a":"new"}`))
	restored.Until(func(s destination.Status) bool { return s.Behind == 0 })
	restored.Put("contacts", record("4", `{"a":"new"}`)) // a turn more
	s := restored.Until(func(s destination.Status) bool { return s.Behind == 0 })
	if x := restored.table("contacts"); s.Streams[0].Place.Reread == nil || x["3"]["a"] != "z" || x["4"]["a"] != "new" {
		t.Errorf("before the reconcile it stands at %+v, and the files have %v", s.Streams[0].Place, x)
	}
	restored.Src.Settle(true)
	restored.Current()
	if x := restored.table("contacts"); len(x) != 3 || x["1"]["a"] != "x" || x["4"]["a"] != "new" {
		t.Errorf("the files have %v", x)
	}
	restored.same("contacts")
	restored.Equal()
	if m := restored.manifest("contacts"); m.Epoch != restored.Src.Epoch() {
		t.Errorf("the manifest is of epoch %d", m.Epoch)
	}
	restored.Stop()
	r.Start() // the earlier life
	r.Until(func(s destination.Status) bool {
		return s.State == destination.Blocked && s.Error.Type == "destination-foreign"
	})
}
