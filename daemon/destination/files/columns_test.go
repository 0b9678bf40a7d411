package files_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

const canary = "Canary@Example.com"

// seen counts the canary in all that lies there, whatever packs it.
func (r *rig) seen() (n int) {
	r.t.Helper()
	in := func(text string) { n += strings.Count(strings.ToLower(text), strings.ToLower(canary)) }
	for _, key := range r.at.keys("") {
		b, err := os.ReadFile(filepath.Join(r.at.(*dir).path, key))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went, or got its name, meanwhile
		}
		if err != nil {
			r.t.Fatal(err)
		}
		switch {
		case strings.HasSuffix(key, ".gz"):
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				r.t.Fatal(err)
			}
			text, err := io.ReadAll(z)
			if err != nil {
				r.t.Fatal(err)
			}
			in(string(text))
		case strings.HasSuffix(key, ".parquet"):
			f, err := parquet.OpenFile(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				r.t.Fatal(err)
			}
			for _, g := range f.RowGroups() {
				rows := g.Rows()
				buf := make([]parquet.Row, 100)
				for {
					k, err := rows.ReadRows(buf)
					for _, row := range buf[:k] {
						for _, v := range row {
							in(v.String())
						}
					}
					if err != nil {
						break
					}
				}
				if err := rows.Close(); err != nil {
					r.t.Fatal(err)
				}
			}
		default:
			in(string(b))
		}
	}
	return n
}

// What is not chosen lies in no file, when those from before have gone.
func TestCanary(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, local(t), files.Options{Format: format, Raw: true, Keep: time.Millisecond})
			r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts", History: true}, {Name: "subscription_statuses", Object: "subscription_statuses"}}
			r.Define("contacts", "email string", "phone number", "secret string", "score number")
			for i := range 3 {
				rec := record(strings.Repeat("1", i+1), `{"email":" `+canary+`","phone":"`+canary+`","secret":"`+canary+`","score":"7","hidden":"`+canary+`"}`)
				rec.History = []byte(`{"email":[{"value":"` + canary + `","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI","sourceId":"` + canary + `"}]}`)
				r.Put("contacts", rec)
			}
			r.Put("subscription_statuses", record(canary+"/5", `{"subscriberIdString":"`+canary+`","n":"x"}`), &stream.Record{Head: stream.Head{ID: canary + "/6", State: stream.Purged}})
			again := func(c destination.Choice) {
				t.Helper()
				if r.M != nil {
					r.Stop()
				}
				r.Choice = c
				r.Start()
				r.Current()
				r.Eventually("the old files' end", func() bool {
					return len(r.manifest("contacts").Removed)+len(r.manifest("subscription_statuses").Removed) == 0
				})
				r.Equal()
			}
			again(destination.Choice{})
			if n := r.seen(); n < 20 {
				t.Fatalf("the canary was handed over in %d places only", n)
			}
			again(destination.Choice{Personal: destination.Hash, Exclude: []string{"secret"}})
			r.Eventually("no canary", func() bool { return r.seen() == 0 })
			columns := map[string]files.Column{}
			for _, c := range r.manifest("contacts").Columns {
				columns[c.Name] = c
			}
			if _, ok := columns["secret"]; ok || !strings.HasPrefix(columns["phone"].Handling, "hash ") || columns["phone"].Type != "string" || columns["score"].Type != "double" {
				t.Errorf("the columns are %+v", columns)
			}
			again(destination.Choice{Personal: destination.Exclude, Exclude: []string{"secret"}})
			r.Eventually("no canary", func() bool { return r.seen() == 0 })
			again(destination.Choice{})
			r.Eventually("the canary again", func() bool { return r.seen() >= 20 })
		})
	}
}

// A check of a destination that is paused writes nothing.
func TestCanaryOfPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{})
	r.Define("contacts", "email string")
	r.Put("contacts", record("1", `{"email":"`+canary+`"}`))
	r.Start()
	r.Current()
	if err := r.M.Pause("lake"); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	r.Choice = destination.Choice{Exclude: []string{"email"}}
	r.Start()
	before := r.manifest("contacts")
	list, err := r.M.Check(t.Context(), "lake")
	if err != nil || len(list) != 1 || !strings.Contains(list[0].Note, "changed first") {
		t.Errorf("it says %+v %v", list, err)
	}
	if diff := gocmp.Diff(before, r.manifest("contacts")); diff != "" {
		t.Errorf("the check has written (-before +after):\n%s", diff)
	}
}

// What is said of the files' columns is what the manifest has.
func TestDescribed(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{})
	r.Define("contacts", "email string", "Email string", "day date", "id bool", "n number", "kinds enumeration checkbox")
	r.Put("contacts", record("1", `{"email":"a","Email":"b","day":"2026-01-02","id":"true","n":"1","kinds":"a;b"}`))
	r.Start()
	r.Current()
	where, list, err := r.M.Tables(t.Context(), "lake")
	if err != nil || where.Location != r.o.URL || len(list) != 1 || list[0].Versions != "" {
		t.Fatalf("%+v %+v %v", where, list, err)
	}
	want := map[string]string{}
	for _, c := range r.manifest("contacts").Columns {
		want[c.Name] = string(c.Type)
	}
	got := map[string]string{}
	for _, c := range list[0].Columns {
		got[c.Name] = c.Type
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("(-in the manifest +said):\n%s", d)
	}
	r.Streams[0].Versions = time.Hour
	r.Start()
	if _, list, err := r.M.Tables(t.Context(), "lake"); err != nil || list[0].Versions != "contacts__versions" {
		t.Errorf("versions: %+v %v", list, err)
	}
}
