package files_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is where files go, as a reader of them has it.
type place interface {
	url() string
	read(key string) []byte
	keys(prefix string) []string
}

// rig is a store and a manager with one destination of files.
type rig struct {
	*enginetest.Rig

	t  testing.TB
	at place
	o  files.Options
}

func newRig(t testing.TB, at place, o files.Options) *rig {
	t.Helper()
	if o.Format == "" {
		o.Format = files.Parquet
	}
	if o.FileSize == 0 {
		o.FileSize = 64 << 20
	}
	if o.Compact == 0 {
		o.Compact = 24 * time.Hour
	}
	if o.Keep == 0 {
		o.Keep = time.Hour
	}
	if o.URL == "" {
		o.URL = at.url()
	}
	r := &rig{t: t, at: at, o: o}
	r.Rig = enginetest.New(t, "lake", func() (destination.Engine, string) { return files.New(r.o), fmt.Sprint(r.o, r.Choice) })
	return r
}

func record(id, properties string) *stream.Record { return enginetest.Record(id, properties) }

func ended(id string, s stream.State) *stream.Record { return enginetest.Ended(id, s) }

func erased(id string) *stream.Record { return enginetest.Erased(id) }

// manifest is what readers are shown of a stream.
func (r *rig) manifest(name string) files.Manifest {
	r.t.Helper()
	var m files.Manifest
	if err := json.Unmarshal(r.at.read(name+"/_hubpipe/latest.json"), &m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

type row = enginetest.Row

// rows are all rows of the valid files, in their order.
func (r *rig) rows(name string) []row {
	r.t.Helper()
	var out []row
	for _, f := range r.manifest(name).Files {
		got := rowsOf(r.t, f.Path, r.at.read(f.Path))
		if uint64(len(got)) != f.Rows {
			r.t.Errorf("%s has %d rows, and the manifest says %d", f.Path, len(got), f.Rows)
		}
		out = append(out, got...)
	}
	return out
}

// table is what a reader makes of the files: the newest row of each record.
func (r *rig) table(name string) map[string]row { r.t.Helper(); return enginetest.Newest(r.rows(name)) }

// once checks that each record stands in the valid files once.
func (r *rig) once(name string) { r.t.Helper(); r.Once(r.rows(name), "id") }

// same holds what a reader makes of the files against the store, value by value.
func (r *rig) same(name string) {
	r.t.Helper()
	// A manifest of which nobody heard is shown a moment after it is found.
	r.Eventually("a manifest that has everything", func() bool { return r.manifest(name).Position >= r.Src.PositionOf(name) })
	r.Same(name, r.table(name), false)
}

// rowsOf reads a file with nothing of the package's own.
func rowsOf(t testing.TB, name string, b []byte) (out []row) {
	t.Helper()
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(all) {
			var m map[string]json.RawMessage
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			x := row{}
			for k, v := range m {
				var s string
				if json.Unmarshal(v, &s) == nil {
					x[k] = s
				} else {
					x[k] = string(v)
				}
			}
			out = append(out, x)
		}
		return out
	}
	f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(name, err)
	}
	paths := f.Schema().Columns()
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		for {
			buf := make([]parquet.Row, 1)
			n, err := rows.ReadRows(buf)
			if n == 1 {
				x := row{}
				for _, v := range buf[0] {
					if p := paths[v.Column()]; !v.IsNull() && len(p) > 1 {
						x[p[0]] += "[" + v.String() + "]"
					} else if !v.IsNull() {
						x[p[0]] = v.String()
					}
				}
				out = append(out, x)
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		_ = rows.Close()
	}
	return out
}

// dir is a local folder.
type dir struct {
	t    testing.TB
	path string
}

func local(t testing.TB) *dir {
	t.Helper()
	return &dir{t, filepath.Join(t.TempDir(), "lake")}
}

func (d *dir) url() string { return "file://" + d.path }

func (d *dir) read(key string) []byte {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.path, key))
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (d *dir) keys(prefix string) (out []string) {
	d.t.Helper()
	err := filepath.WalkDir(d.path, func(p string, e os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(d.path, p); err == nil && !e.IsDir() && strings.HasPrefix(rel, prefix) {
			out = append(out, rel)
		}
		return nil // what goes meanwhile is gone
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func TestFirstRowsAndChanges(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, local(t), files.Options{Format: format, Raw: true})
			r.Streams[0].Associations, r.Streams[0].History = true, true
			r.Define("contacts", "email string", "score number", "opted bool", "born date", "seen datetime", "kinds enumeration checkbox", "day string")
			first := record("1", `{"email":"a\tb\\c\n\"d\" é \u0000 \ud800","score":"1.50","opted":"true","born":"1969-12-31","seen":"2024-02-29T01:02:03.5Z","kinds":"x;a b;\"q\"","day":"x"}`)
			first.Associations, first.History = []byte("{\"companies\":[{\n\"id\":\"7\"}]}"), []byte(`{"email":[]}`)
			r.Put("contacts", first,
				record("2", `{"email":null,"score":"","opted":"","born":null,"seen":"","kinds":""}`),
				record("3", `{"email":"","score":"1e3","opted":"nope","born":"today","seen":"x","kinds":"one"}`))
			r.Start()
			s := r.Current()
			list, born, seen, at := "[x][a b][\"q\"]", "-1", "1709168523500", func(ms string) string { return ms }
			one := "[one]"
			if format == files.NDJSON {
				list, born, seen, one = `["x","a b","\"q\""]`, "1969-12-31", "2024-02-29T01:02:03.500Z", `["one"]`
				at = func(string) string { return "2026-01-01T00:00:00.000Z" }
			}
			got := r.table("contacts")
			var day string
			for _, c := range r.manifest("contacts").Columns {
				if c.Property == "day" {
					day = c.Name
				}
			}
			want := row{"id": "1", "_hubpipe_seq": "1", "_hubpipe_state": "live", "email": "a\tb\\c\n\"d\" é \x00 \uFFFD", "score": "1.5", "opted": "true",
				"born": born, "seen": seen, "kinds": list, day: "x", "_hubpipe_associations": `{"companies":[{ "id":"7"}]}`, "_hubpipe_history": `{"email":[]}`,
				"_hubpipe_properties": string(first.Properties)}
			for k := range got["1"] {
				if k == "_hubpipe_created_at" && got["1"][k] != at("1767225600000") || k == "_hubpipe_synced_at" && got["1"][k] == "" {
					t.Errorf("%s is %q", k, got["1"][k])
				}
			}
			for _, k := range []string{"_hubpipe_created_at", "_hubpipe_updated_at", "_hubpipe_synced_at"} {
				want[k] = got["1"][k]
			}
			if d := gocmp.Diff(want, got["1"]); d != "" {
				t.Error(d)
			}
			if x := got["3"]; x["score"] != "1000" || x["opted"] != "" || x["born"] != "" || x["kinds"] != one {
				t.Errorf("row %v", x)
			}
			if x := got["2"]; x["score"] != "" || x["kinds"] != "" || x["opted"] != "" {
				t.Errorf("row %v", x)
			}
			if day == "day" || day == "" {
				t.Errorf("the property day has column %q, which readers make of the folder's name", day)
			}
			if s.Streams[0].Place.Unparsed != 3 || s.Rows != 3 {
				t.Errorf("status %+v", s)
			}
			r.Put("contacts", record("1", `{"email":"new","score":"2"}`), ended("2", stream.Purged))
			r.Current()
			got = r.table("contacts")
			if len(got) != 3 || got["1"]["email"] != "new" || got["2"]["_hubpipe_state"] != "purged" || got["2"]["email"] != "" {
				t.Errorf("rows %v", got)
			}
			r.Equal()
			for _, f := range r.manifest("contacts").Files {
				if want := "contacts/day=" + time.Now().UTC().Format(time.DateOnly)[:4]; !strings.HasPrefix(f.Path, want) {
					t.Errorf("a file is called %s", f.Path)
				}
			}
			if list := string(r.at.read("contacts/_hubpipe/latest.txt")); strings.Count(list, "\n") != 2 || !strings.Contains(list, r.manifest("contacts").Files[1].URL+"\n") {
				t.Errorf("the list says %q", list)
			}
			if b := r.at.read("_hubpipe/streams.json"); !bytes.Contains(b, []byte(`"time_zone": "Europe/Berlin"`)) {
				t.Errorf("the streams are described as %s", b)
			}
		})
	}
}

// What is new waits for more, and no longer than it should however often it
// changes; the first rows do not wait, nor does what somebody asks for.
func TestGather(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{})
	r.Gather = time.Hour
	r.Put("contacts", record("1", `{"email":"a"}`))
	r.Start()
	r.Current()
	for i := range 20 {
		r.Put("contacts", record("1", fmt.Sprintf(`{"email":"%d"}`, i)), record(fmt.Sprint(i+10), `{}`))
	}
	if s := r.Until(func(s destination.Status) bool { return s.Behind == 21 }); s.State != destination.Running {
		t.Errorf("it is %s", s.State)
	}
	if m := r.manifest("contacts"); m.Number != 1 {
		t.Errorf("there are %d commits", m.Number)
	}
	r.Equal()
	if m := r.manifest("contacts"); m.Number != 2 || len(m.Files) != 2 || m.Files[1].Rows != 21 {
		t.Errorf("the manifest has %d, %+v", m.Number, m.Files)
	}
	r.Stop()
	r.Gather = time.Second
	r.Start()
	r.Put("contacts", record("2", `{}`))
	r.Current()
	if m := r.manifest("contacts"); m.Number != 3 {
		t.Errorf("there are %d commits", m.Number)
	}
}

// fill makes n records of some size.
func fill(n int, mark string) []*stream.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]*stream.Record, n)
	for i := range out {
		p := fmt.Sprintf(`{"email":"%s-%d@example.com","score":"%d.5","note":"%x%x"}`, mark, i, i, rng.Uint64(), rng.Uint64())
		out[i] = record(fmt.Sprint(1000+i), p)
	}
	return out
}

// Files have about the size that was asked for, and each is committed when it is
// whole.
func TestSize(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{FileSize: 100 << 10})
	r.Put("contacts", fill(20_000, "a")...)
	r.Start()
	r.Current()
	m := r.manifest("contacts")
	if len(m.Files) < 3 || m.Number != uint64(len(m.Files)) {
		t.Errorf("%d files in %d commits", len(m.Files), m.Number)
	}
	if n := len(r.rows("contacts")); n != 20_000 {
		t.Errorf("%d rows", n)
	}
	r.Equal()
}

// write puts something into a folder.
func write(t testing.TB, d *dir, key, text string) {
	t.Helper()
	p := filepath.Join(d.path, key)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
