package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Loaders of others get the schema, every record of every state, and a place
// from which the next time goes on.
func TestExportForLoaders(t *testing.T) {
	t.Parallel()
	s := documented(t)
	feed := strings.Split(strings.TrimSpace(s.get("/v1/streams/contacts/changes")), "\n")
	type line struct {
		Type, Stream string
		Schema       struct{ Properties map[string]any }
		Record       map[string]any
		Value        struct{ Bookmarks map[string]map[string]string }
		Catalog      struct {
			Streams []struct {
				Name   string
				Schema struct{ Properties map[string]any } `json:"json_schema"`
			}
		}
		State struct {
			Stream struct {
				State map[string]string `json:"stream_state"`
			}
		}
	}
	for _, format := range []string{"singer", "airbyte"} {
		out, err := s.hubpipe("export", "contacts", "--format", format)
		if err != nil {
			t.Fatal(err)
		}
		var properties map[string]any
		place, n := "", 0
		for text := range strings.Lines(out) {
			l := decode[line](t, text)
			switch l.Type {
			case "SCHEMA":
				properties = l.Schema.Properties
			case "CATALOG":
				properties = l.Catalog.Streams[0].Schema.Properties
			case "RECORD":
				data := l.Record
				if format == "airbyte" {
					data = l.Record["data"].(map[string]any)
				}
				want := decode[client.Record](t, feed[n])
				n++
				if data["id"] != want.ID || fmt.Sprintf("%.0f", data["_hubpipe_seq"]) != fmt.Sprint(want.Seq) {
					t.Fatalf("%s: record %d is %v, not %s", format, n, data, want.ID)
				}
				for name, v := range data {
					if properties[name] == nil {
						t.Fatalf("%s: %s is not in the schema", format, name)
					}
					if kind := fmt.Sprint(properties[name].(map[string]any)["type"]); v != nil && strings.Contains(kind, "number") != (fmt.Sprintf("%T", v) == "float64") && name != "_hubpipe_seq" {
						t.Fatalf("%s: %s is %T, and in the schema %s", format, name, v, kind)
					}
				}
			case "STATE":
				if place = l.Value.Bookmarks["contacts"]["since"]; format == "airbyte" {
					place = l.State.Stream.State["since"]
				}
			default:
				t.Fatalf("%s: %s", format, text)
			}
		}
		if last := decode[client.Record](t, feed[len(feed)-1]); n != len(feed) || place != fmt.Sprint(last.Seq) {
			t.Errorf("%s: %d records of %d, to %s of %d", format, n, len(feed), place, last.Seq)
		}
		if out, err := s.hubpipe("export", "contacts", "--format", format, "--since", place); err != nil || strings.Contains(out, "RECORD") || strings.Count(out, "\n") != 1 {
			t.Errorf("%s from %s: %v %s", format, place, err, out)
		}
	}
}

// What is no object of the CRM has no definitions; a loader gets all that its
// rows have all the same, and a property of ours does not hide one of theirs.
func TestExportOfRowsForLoaders(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "1", "--deals", "0")
	s.configure(settings{streams: []string{"owners"}, defaults: "autostart = false"})
	s.daemon()
	if out, err := s.hubpipe("export", "owners", "--format", "singer"); err == nil {
		t.Errorf("before anything was read: %s", out)
	}
	s.worker()
	if code, body := s.curl(http.MethodPost, "/v1/streams/owners/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("the first run: %d %s", code, body)
	}
	type line struct {
		Type   string
		Schema struct{ Properties map[string]any }
		Record map[string]any
	}
	out, err := s.hubpipe("export", "owners", "--format", "singer")
	if err != nil {
		t.Fatal(err)
	}
	var properties map[string]any
	n := 0
	for text := range strings.Lines(out) {
		l := decode[line](t, text)
		if l.Type == "SCHEMA" {
			properties = l.Schema.Properties
		}
		if l.Type != "RECORD" {
			continue
		}
		n++
		for name := range l.Record {
			if properties[name] == nil {
				t.Fatalf("%s is not in the schema", name)
			}
		}
		if l.Record["_property_id"] != l.Record["id"] || l.Record["email"] == nil {
			t.Fatalf("a row that lacks something: %v", l.Record)
		}
	}
	if n == 0 {
		t.Error("there are no rows")
	}
}

// A shell is offered the streams of the daemon that runs, and nothing where
// none does.
func TestCompletion(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "1", "--deals", "0")
	s.configure(settings{defaults: "autostart = false"})
	if out, err := s.hubpipe("__complete", "start", ""); err != nil || strings.Contains(out, "contacts") {
		t.Errorf("without a daemon: %v %s", err, out)
	}
	s.daemon()
	for _, c := range []struct {
		args []string
		has  string
	}{
		{[]string{"start", ""}, "contacts\tstopped\ndeals\tstopped\nall\t"}, {[]string{"records", ""}, "contacts"}, {[]string{"export", "contacts", "--format", ""}, "parquet"},
		{[]string{"status", "--output", ""}, "json"}, {[]string{"exp"}, "export"},
	} {
		if out, err := s.hubpipe(append([]string{"__complete"}, c.args...)...); err != nil || !strings.Contains(out, c.has) {
			t.Errorf("%q: %v %s", c.args, err, out)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, err := s.hubpipe("completion", shell); err != nil || len(out) < 500 {
			t.Errorf("%s: %v %s", shell, err, out)
		}
	}
}
