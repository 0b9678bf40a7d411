package files_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
)

// Where no versions are wanted readers are shown no list of them, whoever left one.
func TestListOfVersionsGoes(t *testing.T) {
	t.Parallel()
	const list, latest = "contacts/_hubpipe/versions.txt", "contacts/_hubpipe/latest.json"
	at := local(t)
	r := newRig(t, at, files.Options{})
	is := func(want bool, when string) {
		t.Helper()
		if got := len(at.keys(list)) > 0; got != want {
			t.Errorf("%s: that there is a list is %v", when, got)
		}
	}
	want := func(keep time.Duration) *direct {
		r.Streams[0].Versions = keep
		r.KeepFor()
		return r.session()
	}
	d := want(time.Hour)
	r.Put("contacts", record("1", `{"a":"one"}`))
	d.write(false)
	is(true, "with versions")
	want(0)
	is(false, "when they are not wanted any more")
	want(time.Hour)
	is(true, "when they are wanted again")
	want(0)

	write(t, at, list, "left by an earlier hubpipe\n")
	d = r.session()
	r.Put("contacts", record("1", `{"a":"two"}`))
	d.write(false)
	is(false, "with the first commit of a session")

	d.tend() // the look that comes each hour
	other := strings.Replace(string(at.read(latest)), `"writer": "`+r.manifest("contacts").Writer, `"writer": "00000000`, 1)
	write(t, at, list, "shown by one who is behind\n")
	write(t, at, latest, other)
	d.tend()
	is(false, "behind the manifest of somebody else")

	want(time.Hour) // another daemon, while this one knows that there is no list
	is(true, "when another wants versions")
	r.Streams[0].Versions = 0
	d.prepare()
	is(false, "when this one goes on behind another")
}

// A list of versions that could not be taken away goes when the session goes on,
// and when another begins. Where there is none nothing is asked.
func TestListOfVersionsGoesLater(t *testing.T) {
	t.Parallel()
	const list = "contacts/_hubpipe/versions.txt"
	for name, restart := range map[string]bool{"session": false, "restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := s3(t)
			r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s"})
			r.Streams[0].Versions = time.Hour
			r.KeepFor()
			d := r.session()
			r.Put("contacts", record("1", `{"a":"one"}`))
			d.write(false)
			r.Streams[0].Versions = 0
			r.KeepFor()
			at.fails(func(q *http.Request) *fault {
				if q.Method == http.MethodDelete && strings.HasSuffix(q.URL.Path, list) {
					return &fault{status: 400, code: "InvalidRequest"}
				}
				return nil
			})
			if _, err := d.s.Prepare(t.Context(), destination.Table{Stream: r.Streams[0], Head: d.place.Position}); err == nil {
				t.Error("nobody says that the list stays")
			}
			if len(at.keys(list)) == 0 {
				t.Fatal("there is no list: the test shows nothing")
			}
			at.fails(nil)
			if restart {
				d = r.session()
			} else {
				d.prepare()
			}
			d.tend()
			if len(at.keys(list)) > 0 {
				t.Error("the list stays")
			}
			asked := 0
			at.fails(func(q *http.Request) *fault {
				if strings.HasSuffix(q.URL.Path, list) {
					asked++
				}
				return nil
			})
			r.Put("contacts", record("1", `{"a":"two"}`))
			d.write(false)
			if asked > 0 {
				t.Errorf("it was asked for %d times", asked)
			}
		})
	}
}
