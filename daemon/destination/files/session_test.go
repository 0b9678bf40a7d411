package files_test

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// direct is a session that a test does each step of by itself.
type direct struct {
	r *rig
	s destination.Gatherer
	// place is where it is, as the last step said.
	place destination.Place
}

// session opens one, with the rig's options.
func (r *rig) session() *direct {
	r.t.Helper()
	s, err := files.New(r.o).Connect(r.t.Context(), destination.Origin{Store: r.Src.ID(), Epoch: r.Src.Epoch()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.Close)
	d := &direct{r: r, s: s.(destination.Gatherer)} //nolint:forcetypeassert // a test
	d.prepare()
	return d
}

func (d *direct) prepare() {
	d.r.t.Helper()
	d.step(d.s.Prepare(d.r.t.Context(), destination.Table{Stream: d.r.Streams[0], Head: d.r.Src.PositionOf("contacts")}))
}

func (d *direct) step(p destination.Place, err error) {
	d.r.t.Helper()
	if err != nil {
		d.r.t.Fatal(err)
	}
	d.place = p
}

// take gives what follows a place in the feed to the session, which holds it.
func (d *direct) take(since uint64, again bool) error {
	d.r.t.Helper()
	var records []*stream.Record
	to, err := d.r.Src.Changes(d.r.t.Context(), "contacts", since, 0, func(rec *stream.Record) error {
		records = append(records, rec)
		return nil
	})
	if err != nil {
		d.r.t.Fatal(err)
	}
	p, err := d.s.Write(d.r.t.Context(), "contacts", &destination.Batch{Packed: d.s.Pack("contacts", records), Count: len(records), Place: d.place, To: to, Reread: again})
	if err == nil {
		d.place = p
	}
	return err
}

// write commits what is new, or what a rereading has to read.
func (d *direct) write(again bool) {
	d.r.t.Helper()
	since := d.place.Position
	if again {
		since = d.place.Reread.Position
	}
	if err := d.take(since, again); err != nil {
		d.r.t.Fatal(err)
	}
	d.flush()
}

func (d *direct) flush() { d.r.t.Helper(); d.step(d.s.Flush(d.r.t.Context(), "contacts")) }
func (d *direct) swept() { d.r.t.Helper(); d.step(d.s.Swept(d.r.t.Context(), "contacts")) }
func (d *direct) tend() {
	d.r.t.Helper()
	d.step(d.s.Tend(d.r.t.Context(), "contacts", d.place.Position))
}

// number is that of the newest manifest.
func (d *direct) number() (newest uint64) {
	d.r.t.Helper()
	for _, key := range d.r.at.keys("contacts/_hubpipe/manifest-") {
		var n uint64
		if _, err := fmt.Sscanf(path.Base(key), "manifest-%d.json", &n); err != nil {
			d.r.t.Fatal(err)
		}
		newest = max(newest, n)
	}
	return newest
}

func (d *direct) reread() {
	d.r.t.Helper()
	d.step(d.s.Reread(d.r.t.Context(), "contacts", destination.Reread{Reason: destination.ReasonResync, Until: d.place.Position, Sweep: true}))
}

// What is erased while the first rows are taken in, and nothing is committed yet,
// is in the file that is open.
func TestErasureInTheFirstLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{})
	r.Put("contacts", record("1", `{"email":"canary@example.com"}`), record("2", `{"email":"other@example.com"}`))
	d := r.session()
	if err := d.take(0, false); err != nil {
		t.Fatal(err)
	}
	held := d.place.Held
	r.Put("contacts", erased("1"))
	if err := d.take(held, false); err != nil {
		t.Fatal(err)
	}
	d.flush()
	head := r.Src.PositionOf("contacts")
	if d.place.Position != head || d.place.Cleared == 0 || d.place.Cleared >= head {
		t.Errorf("at %d, with the value in a file, it is clear up to %d", d.place.Position, d.place.Cleared)
	}
	d.tend()
	if d.place.Reread == nil || d.place.Reread.Reason != destination.ReasonErasure {
		t.Fatalf("no snapshot begins: %+v", d.place)
	}
	d.write(true)
	d.swept()
	for _, x := range r.rows("contacts") {
		if x["id"] == "1" && x["email"] != "" {
			t.Errorf("a valid file still has %v", x)
		}
	}
}

// Whoever slept while others wrote, and while the manifests before went, commits
// nothing: the number behind its own is free again.
func TestLateWriter(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{Keep: time.Nanosecond})
	r.Put("contacts", record("1", `{"email":"a"}`))
	d := r.session()
	d.write(false)
	late := r.session()
	for range 3 {
		r.Put("contacts", record("2", `{"email":"b"}`))
		d.write(false)
	}
	d.tend()
	if left := r.at.keys("contacts/_hubpipe/manifest-"); len(left) != 1 {
		t.Fatalf("there are %v", left)
	}
	newest := r.manifest("contacts")
	if err := late.take(late.place.Position, false); err != nil {
		t.Fatal(err)
	}
	if _, err := late.s.Flush(t.Context(), "contacts"); err == nil {
		t.Error("it commits behind a manifest that is none any more")
	}
	if m := r.manifest("contacts"); m.Number != newest.Number {
		t.Errorf("readers are shown manifest %d, and the newest is %d", m.Number, newest.Number)
	}
	late.prepare()
	r.Put("contacts", record("3", `{"email":"c"}`))
	late.write(false)
	if x := r.table("contacts"); len(x) != 3 {
		t.Errorf("the files have %v", x)
	}
}

// Whoever sleeps between looking for the newest manifest and writing the next finds
// its number free again, where the others' have gone meanwhile. It sees that before
// it says that it has committed, or shows readers anything.
func TestSleepsBeforeItsManifest(t *testing.T) {
	t.Parallel()
	at := s3(t)
	r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s", Keep: time.Nanosecond})
	r.Put("contacts", record("1", `{"email":"a"}`))
	d := r.session()
	d.write(false)
	late := r.session()
	r.Put("contacts", record("2", `{"email":"b"}`))
	if err := late.take(late.place.Position, false); err != nil {
		t.Fatal(err)
	}
	slept := false
	at.fails(func(q *http.Request) *fault {
		if slept || q.Method != http.MethodPut || !strings.Contains(q.URL.Path, "manifest-0000000002") {
			return nil
		}
		slept = true
		return &fault{before: func() {
			for range 3 {
				r.Put("contacts", record("3", `{"email":"c"}`))
				d.write(false)
			}
			d.tend()
		}}
	})
	_, err := late.s.Flush(t.Context(), "contacts")
	if p, ok := errors.AsType[*stream.Problem](err); !ok || p.Type != "destination-foreign" || !slept {
		t.Errorf("it commits what nobody will read: %v", err)
	}
	if n := len(at.keys("contacts/_hubpipe/manifest-0000000002")); n != 1 {
		t.Errorf("its manifest was written %d times: the test shows nothing", n)
	}
	if m := r.manifest("contacts"); m.Number != d.number() {
		t.Errorf("readers are shown manifest %d, and the newest is %d", m.Number, d.number())
	}
	late.prepare()
	r.Put("contacts", record("4", `{"email":"d"}`))
	late.write(false)
	r.same("contacts")
}

// What somebody else has shown readers is noticed now and then, be its number the
// same.
func TestOthersManifestIsReplaced(t *testing.T) {
	t.Parallel()
	at := local(t)
	r := newRig(t, at, files.Options{})
	r.Put("contacts", record("1", `{"email":"a"}`))
	d := r.session()
	d.write(false)
	latest := "contacts/_hubpipe/latest.json"
	right := string(at.read(latest))
	d.tend() // the look that comes each hour
	for _, wrong := range []string{
		strings.Replace(right, `"number": 1,`, `"number": 7,`, 1),
		strings.Replace(right, `"writer": "`+r.manifest("contacts").Writer, `"writer": "00000000`, 1),
	} {
		if wrong == right {
			t.Fatal("nothing is wrong")
		}
		write(t, at, latest, wrong)
		d = r.session()
		d.tend()
		if got := string(at.read(latest)); got != right {
			t.Errorf("readers are shown %.300s", got)
		}
		write(t, at, latest, wrong)
		d.tend()
		if got := string(at.read(latest)); got != right {
			t.Errorf("after the hourly look readers are shown %.300s", got)
		}
	}
}

// Another format while a rereading goes on begins it anew: what is valid behind it
// has one format.
func TestAnotherFormatWhileReread(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{})
	r.Put("contacts", record("1", `{"email":"a"}`), record("2", `{"email":"b"}`))
	d := r.session()
	d.write(false)
	d.reread()
	d.write(true)
	r.Put("contacts", record("3", `{"email":"c"}`))
	d.write(false)
	r.o.Format = files.NDJSON
	d = r.session()
	if d.place.Reread == nil || d.place.Reread.Position != 0 {
		t.Fatalf("it goes on at %+v", d.place.Reread)
	}
	d.write(true)
	d.swept()
	for _, f := range r.manifest("contacts").Files {
		if !strings.HasSuffix(f.Path, ".ndjson.gz") {
			t.Errorf("%s is valid", f.Path)
		}
	}
	r.once("contacts")
	r.same("contacts")
	was := d.place
	d.prepare()
	if d.place.Reread != nil {
		t.Errorf("it is read again and again: %+v, and was %+v", d.place, was)
	}
}

// age makes a moment, as a manifest has it, one that was a while before.
func age(at time.Time, by time.Duration, text string) string {
	stamp := func(x time.Time) string { return `"` + x.Format(time.RFC3339Nano) + `"` }
	return strings.ReplaceAll(text, stamp(at), stamp(at.Add(-by)))
}

// An erasure is done when the files that had it are gone, though later snapshots
// have left others that stay for readers.
func TestErasureEndsBetweenSnapshots(t *testing.T) {
	t.Parallel()
	at := local(t)
	r := newRig(t, at, files.Options{Keep: 3 * time.Hour})
	r.Put("contacts", record("1", `{"email":"canary@example.com"}`), record("2", `{"email":"b"}`))
	d := r.session()
	d.write(false)
	r.Put("contacts", erased("1"))
	d.write(false)
	first := r.Src.PositionOf("contacts")
	snapshot := func() {
		t.Helper()
		if d.place.Reread == nil {
			d.tend()
		}
		if d.place.Reread == nil {
			d.reread()
		}
		d.write(true)
		d.swept()
	}
	snapshot()
	swap := r.manifest("contacts").Committed
	r.Eventually("a later moment", func() bool { return time.Since(swap) > time.Millisecond })
	// Another erasure, whose snapshot is a later one.
	r.Put("contacts", erased("2"))
	d.write(false)
	second := r.Src.PositionOf("contacts")
	snapshot()
	if d.place.Cleared >= first {
		t.Errorf("the files before stay, and it is clear up to %d", d.place.Cleared)
	}
	// Both were a while ago, the first one longer.
	keys := at.keys("contacts/_hubpipe/manifest-")
	key := slices.Max(keys)
	write(t, at, key, age(swap, 4*time.Hour, string(at.read(key))))
	d = r.session()
	d.tend()
	m := r.manifest("contacts")
	if len(m.Removed) == 0 {
		t.Fatal("all files before are gone")
	}
	if d.place.Cleared < first || d.place.Cleared >= second {
		t.Errorf("it is clear up to %d; the first erasure is at %d, the second, which is in files yet, at %d", d.place.Cleared, first, second)
	}
	snapshot() // with others to come, the second one ends, too
	later := r.manifest("contacts").Committed
	r.Eventually("a later moment", func() bool { return time.Since(later) > time.Millisecond })
	snapshot()
	key = slices.Max(at.keys("contacts/_hubpipe/manifest-"))
	text := string(at.read(key))
	for _, x := range r.manifest("contacts").Removed {
		if !x.At.After(later) {
			text = age(x.At, 4*time.Hour, text)
		}
	}
	write(t, at, key, text)
	d = r.session()
	d.tend()
	if m := r.manifest("contacts"); len(m.Removed) == 0 || d.place.Cleared < second {
		t.Errorf("with %d files that stay it is clear up to %d, and the second erasure is at %d", len(m.Removed), d.place.Cleared, second)
	}
}

// While one of the files that had it stays, an erasure is not done: not when those
// are gone that an earlier snapshot has left, nor where the clock was ahead then.
func TestErasureWaitsForEachFile(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]bool{"earlier": false, "clock ahead": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := local(t)
			r := newRig(t, at, files.Options{Keep: 3 * time.Hour})
			shift := func(moment time.Time, by time.Duration) {
				key := slices.Max(at.keys("contacts/_hubpipe/manifest-"))
				write(t, at, key, age(moment, by, string(at.read(key))))
			}
			r.Put("contacts", record("1", `{"email":"canary@example.com"}`))
			d := r.session()
			d.write(false)
			d.reread()
			d.write(true)
			d.swept()
			before := r.manifest("contacts").Committed
			if ahead {
				shift(before, -time.Hour)
				d = r.session()
			}
			r.Eventually("a later moment", func() bool { return time.Since(before) > time.Millisecond })
			r.Put("contacts", erased("1"))
			d.write(false)
			d.tend()
			d.write(true)
			d.swept()
			if ahead {
				shift(r.manifest("contacts").Committed, 4*time.Hour)
			} else {
				shift(before, 4*time.Hour)
			}
			d = r.session()
			was := len(r.manifest("contacts").Removed)
			d.tend()
			if m := r.manifest("contacts"); len(m.Removed) == 0 || len(m.Removed) == was {
				t.Fatalf("of %d files %d stay", was, len(m.Removed))
			}
			if head := r.Src.PositionOf("contacts"); d.place.Cleared >= head {
				t.Errorf("it is clear up to %d, and the erasure is at %d", d.place.Cleared, head)
			}
		})
	}
}
