package files_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// newHistory is a rig whose destination wants every version of contacts.
func newHistory(t *testing.T, o files.Options) *rig {
	t.Helper()
	r := newRig(t, local(t), o)
	r.Streams[0].Versions = time.Hour
	r.KeepFor()
	return r
}

// versions are all rows of the files that readers are shown as those with every
// version, as id, state and a property.
func (r *rig) versions(property string) (out []string) {
	r.t.Helper()
	seen := map[string]bool{}
	type placed struct {
		seq  int
		text string
	}
	var list []placed
	for url := range strings.Lines(string(r.at.read("contacts/_hubpipe/versions.txt"))) {
		key := url[strings.LastIndex(url, "contacts/day=") : len(url)-1]
		for _, x := range rowsOf(r.t, key, r.at.read(key)) {
			if at := x["id"] + " at " + x["_hubpipe_seq"]; !seen[at] {
				seen[at] = true
				list = append(list, placed{x.Seq(), x["id"] + "|" + x["_hubpipe_state"] + "|" + x[property]})
			}
		}
	}
	slices.SortFunc(list, func(a, b placed) int { return a.seq - b.seq })
	for _, x := range list {
		out = append(out, x.text)
	}
	return out
}

// snapshot has one written of all that was put. One that began earlier, or that is
// shown late, may be whole before.
func (r *rig) snapshot() {
	r.t.Helper()
	before := r.manifest("contacts").Snapshots
	if err := r.M.Resync("lake", ""); err != nil {
		r.t.Fatal(err)
	}
	r.Eventually("a snapshot", func() bool {
		m := r.manifest("contacts")
		return m.Snapshots > before && m.Reread == nil && !slices.ContainsFunc(m.Files, func(f files.File) bool { return !f.Snapshot })
	})
	r.Current()
}

// Each version stays when snapshots replace the files that it is in, but for those
// of records that have lost their content: of these nothing is left in any file.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newHistory(t, files.Options{Format: format, Keep: time.Millisecond})
			r.Define("contacts", "a string")
			is := func(want ...string) {
				t.Helper()
				if d := gocmp.Diff(want, r.versions("a")); d != "" {
					t.Error(d)
				}
			}
			r.Put("contacts", record("1", `{"a":"one"}`), record("2", `{"a":"`+canary+`"}`), record("3", `{"a":"`+canary+`"}`), record("4", `{"a":"stays"}`))
			r.Put("contacts", record("1", `{"a":"two"}`)) // nobody has read the one before
			r.Start()
			r.Current()
			is("1|live|one", "2|live|"+canary, "3|live|"+canary, "4|live|stays", "1|live|two")
			r.snapshot()
			is("1|live|one", "2|live|"+canary, "3|live|"+canary, "4|live|stays", "1|live|two")
			r.once("contacts")
			r.same("contacts")

			// What is purged, and what is erased, goes from what was kept, too.
			r.Put("contacts", record("1", `{"a":"three"}`), ended("2", stream.Purged))
			r.Current()
			r.snapshot()
			is("1|live|one", "3|live|"+canary, "4|live|stays", "1|live|two", "1|live|three", "2|purged|")
			r.Put("contacts", erased("3"))
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && s.Streams[0].Place.Cleared >= s.Streams[0].Head
			})
			life := []string{"1|live|one", "4|live|stays", "1|live|two", "1|live|three", "2|purged|", "3|purged|"}
			is(life...)
			if n := r.seen(); n > 0 {
				t.Errorf("what was erased is in the files %d times", n)
			}

			// They are few files, however many there were.
			for i := range 5 {
				r.Put("contacts", record("4", fmt.Sprintf(`{"a":"%d"}`, i)))
				r.Current()
				life = append(life, fmt.Sprintf("4|live|%d", i))
			}
			r.snapshot()
			is(life...)
			if m := r.manifest("contacts"); len(m.Versions) > 3 || len(m.Files) != 1 {
				t.Errorf("there are %d files of versions, and %d others", len(m.Versions), len(m.Files))
			}
			r.same("contacts")
			r.Equal()

			// Of what is handed over otherwise now, nothing of before stays.
			r.Stop()
			r.Choice = destination.Choice{Exclude: []string{"a"}}
			r.Start()
			r.Eventually("a snapshot by the other choice", func() bool { return !strings.Contains(strings.Join(r.versions("a"), " "), "stays") })
			r.Current()
			is("1|live|", "2|purged|", "3|purged|", "4|live|")
			r.Put("contacts", record("4", `{"a":"hidden"}`))
			r.Current()
			r.snapshot()
			is("1|live|", "2|purged|", "3|purged|", "4|live|", "4|live|")

			// Without the setting they go, and with it they begin with what is there.
			again := func(keep time.Duration) {
				r.Stop()
				r.Streams[0].Versions, r.Choice = keep, destination.Choice{}
				r.KeepFor()
				r.Start()
				r.Eventually("a manifest that says so", func() bool { return r.manifest("contacts").Versioned == (keep > 0) })
				r.Current()
			}
			again(0)
			if m := r.manifest("contacts"); len(m.Versions) > 0 {
				t.Errorf("%d files of versions are left", len(m.Versions))
			}
			again(time.Hour)
			r.Put("contacts", record("1", `{"a":"four"}`))
			r.Current()
			is("1|live|three", "2|purged|", "3|purged|", "4|live|hidden", "1|live|four")
		})
	}
}

// Whatever ends and whenever: each version that was committed is there in the end,
// once for a reader, and nothing of what lost its content.
func TestEachVersionOnce(t *testing.T) {
	t.Parallel()
	at := s3(t)
	r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s", Keep: time.Millisecond, FileSize: 20 << 10})
	r.Streams[0].Versions = time.Hour
	r.KeepFor()
	r.Define("contacts", "a string")
	rng := rand.New(rand.NewPCG(7, 5)) //nolint:gosec // repeatable
	writes := 0
	at.fails(func(q *http.Request) *fault {
		if q.Method == http.MethodPut {
			switch writes++; {
			case writes%7 == 3:
				return &fault{status: 400, code: "InvalidRequest"}
			case writes%11 == 5:
				return &fault{done: true, status: 400, code: "InvalidRequest"}
			}
		}
		return nil
	})
	var all []string
	for round := range 12 {
		var list []*stream.Record
		for range 150 {
			rec := record(fmt.Sprint(rng.IntN(100)), fmt.Sprintf(`{"a":"%d"}`, rng.Int()))
			if rng.IntN(15) == 0 {
				rec = ended(rec.ID, stream.Purged)
			}
			list = append(list, rec)
		}
		r.Put("contacts", list...)
		for _, x := range list {
			if x.State == stream.Purged {
				all = slices.DeleteFunc(all, func(v string) bool { return strings.HasPrefix(v, x.ID+"|") })
			}
			all = append(all, fmt.Sprintf("%s|%s|%s", x.ID, x.State, strings.TrimSuffix(strings.TrimPrefix(string(x.Properties), `{"a":"`), `"}`)))
		}
		if round == 0 {
			r.Start()
		}
		switch rng.IntN(4) {
		case 0:
			r.Stop()
			r.Start()
		case 1:
			if err := r.M.Resync("lake", ""); err != nil {
				t.Error(err)
			}
		case 2:
			r.Current()
		}
		r.Sweep(r.M)
	}
	at.fails(nil)
	r.Current()
	r.snapshot()
	if d := gocmp.Diff(all, r.versions("a")); d != "" {
		t.Error(d)
	}
	r.once("contacts")
	r.same("contacts")
	r.Equal()
}

// Where versions come to be wanted while a snapshot is written for another choice,
// nothing of what it replaces is one: that is not as it was chosen.
func TestVersionsWantedDuringAnotherChoice(t *testing.T) {
	t.Parallel()
	at := s3(t)
	r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s"})
	r.Define("contacts", "email string")
	r.Put("contacts", record("1", `{"email":"`+canary+`"}`))
	r.Start()
	r.Current()
	r.Stop()

	r.Choice = destination.Choice{Hash: []string{"email"}}
	at.fails(func(q *http.Request) *fault { // it does not come to be whole
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "-s-") {
			return &fault{status: 400, code: "InvalidRequest"}
		}
		return nil
	})
	r.Start()
	r.Eventually("a snapshot that begins", func() bool { return r.manifest("contacts").Reread != nil })
	r.Stop()

	r.Streams[0].Versions = time.Hour
	r.KeepFor()
	r.Start()
	r.Eventually("a manifest with versions", func() bool { return r.manifest("contacts").Versioned })
	if m := r.manifest("contacts"); m.Reread == nil || m.Snapshots > 0 {
		t.Fatalf("the snapshot is whole already: %+v", m)
	}
	at.fails(nil)
	r.Eventually("a snapshot", func() bool { return r.manifest("contacts").Snapshots > 0 })
	r.Current()
	if got := r.versions("email"); len(got) != 1 || strings.Contains(got[0], canary) {
		t.Errorf("the versions are %v", got)
	}
	if m := r.manifest("contacts"); len(m.Versions) > 0 {
		t.Errorf("what was replaced is kept in %+v", m.Versions)
	}
}

// Where versions are not wanted any more while a snapshot is written with which
// they would have begun anew, those that are wanted later stay with the next one.
func TestVersionsLeftDuringAnotherFormat(t *testing.T) {
	t.Parallel()
	r := newHistory(t, files.Options{})
	put := func(d *direct, value string) {
		t.Helper()
		r.Put("contacts", record("1", `{"a":"`+value+`"}`))
		d.write(false)
	}
	d := r.session()
	put(d, "before")
	r.o.Format = files.NDJSON
	r.session()
	if m := r.manifest("contacts"); m.Reread == nil || !m.Versioned {
		t.Fatalf("no snapshot begins: %+v", m)
	}
	r.Streams[0].Versions = 0
	d = r.session()
	d.write(true)
	d.swept()
	if m := r.manifest("contacts"); m.Reread != nil || m.Versioned {
		t.Fatalf("the snapshot is not whole, or has versions: %+v", m)
	}
	r.Streams[0].Versions = time.Hour
	d = r.session()
	put(d, "one")
	put(d, "two")
	d.reread()
	d.write(true)
	d.swept()
	if diff := gocmp.Diff([]string{"1|live|before", "1|live|one", "1|live|two"}, r.versions("a")); diff != "" {
		t.Error(diff)
	}
}

// What a snapshot replaces stays for readers from the commit on that replaces it,
// however long it takes to keep the versions.
func TestReadersHaveFilesFromTheCommitOn(t *testing.T) {
	t.Parallel()
	at := s3(t)
	r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s"})
	r.Streams[0].Versions = time.Hour
	r.KeepFor()
	d := r.session()
	put := func(x *stream.Record) {
		t.Helper()
		r.Put("contacts", x)
		d.write(false)
	}
	put(record("1", `{"a":"one"}`))
	put(record("2", `{"a":"two"}`))
	d.reread()
	d.write(true)
	d.swept()
	first := r.manifest("contacts")
	if len(first.Versions) != 1 || len(first.Removed) != 2 {
		t.Fatalf("there are versions in %+v, and removed are %+v", first.Versions, first.Removed)
	}
	put(erased("1")) // so that the versions are written anew, too
	d.tend()
	d.write(true)
	var kept time.Time
	at.fails(func(q *http.Request) *fault {
		if q.Method != http.MethodPut || !strings.Contains(q.URL.Path, "-v-") {
			return nil
		}
		return &fault{before: func() {
			begun := time.Now()
			r.Eventually("a later moment", func() bool { return time.Since(begun) > 2*time.Millisecond })
			kept = time.Now().UTC().Truncate(time.Millisecond)
		}}
	})
	d.swept()
	m := r.manifest("contacts")
	if kept.IsZero() || m.Clean == nil {
		t.Fatalf("no versions were written, or nothing was erased: %+v", m)
	}
	if m.Committed.Before(kept) || m.Snapshot.Before(kept) || m.Clean.At.Before(kept) {
		t.Errorf("it was committed at %v, whole at %v and clean of what goes at %v; versions were kept until %v", m.Committed, m.Snapshot, m.Clean.At, kept)
	}
	gone := map[string]time.Time{}
	for _, x := range m.Removed {
		gone[x.Path] = x.At
	}
	for _, f := range append(first.Files, first.Versions...) {
		if x, ok := gone[f.Path]; !ok || x.Before(kept) {
			t.Errorf("%s is removed at %v, and versions were kept until %v", f.Path, x, kept)
		}
	}
	for _, x := range first.Removed {
		if !gone[x.Path].Equal(x.At) {
			t.Errorf("%s was removed at %v, and is at %v now", x.Path, x.At, gone[x.Path])
		}
	}
}
