package daemon

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func TestParseCommand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Command{
		"start contacts every 5m":      {Action: "start", Stream: "contacts", Interval: "5m"},
		"Sync contacts RECORD aB":      {Action: "sync", Stream: "contacts", Record: "aB"},
		"start contacts EVERY 5m":      {Action: "start", Stream: "contacts", Interval: "5m"},
		"reconcile all Accept DELETES": {Action: "reconcile", Stream: "all", AcceptDeletes: true},
		" START contacts\n":            {Action: "start", Stream: "contacts"},
		"stop all":                     {Action: "stop", Stream: "all"},
		"sync contacts record 123":     {Action: "sync", Stream: "contacts", Record: "123"},
		"resync deals":                 {Action: "resync", Stream: "deals"},
		"reconcile deals":              {Action: "reconcile", Stream: "deals"},
		"reconcile all accept deletes": {Action: "reconcile", Stream: "all", AcceptDeletes: true},
		"status":                       {Action: "status"},
		`{"action":"start","stream":"contacts","interval":"5m","id":"7"}`: {ID: "7", Action: "start", Stream: "contacts", Interval: "5m"},
	} {
		got, err := ParseCommand([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestBadCommandsSayWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for text, detail := range map[string]string{
		"":                                 "empty",
		"   ":                              "empty",
		"start":                            "name of a stream",
		"jump contacts":                    `"jump" is not an action`,
		"start contacts each 5m":           "does not belong",
		"stop contacts every 5m":           "does not belong",
		"start contacts every 5m please":   "does not belong",
		"start contacts every":             "interval is missing",
		"sync contacts RECORD":             "id is missing",
		"reconcile deals accept some":      `"accept some" does not belong`,
		"start contacts every 5m now":      `"now" does not belong`,
		`{"action":"start"`:                "not JSON: unexpected EOF",
		`{"action":"start","stream":7}`:    `field "stream" cannot be a JSON number`,
		`{"action":"start","speed":"x"}`:   "speed",
		`{"action":"stop","stream":"c"} x`: "after top-level value",
		`{"action":"stop","stream":"c","interval":"5m"}`:       "no interval",
		"reconcile deals accept":                               "missing",
		`{"action":"sync","stream":"c","accept_deletes":true}`: "accepts no deletes",
		`{"action":"stop","stream":"c","record":"7"}`:          "takes no record",
		"\x00\xff":                "not an action",
		strings.Repeat("x", 5000): "5000 bytes",
	} {
		_, err := ParseCommand([]byte(text))
		var p *stream.Problem
		if !errors.As(err, &p) || !strings.Contains(p.Detail, detail) || strings.Contains(p.Detail, "Go ") || !strings.Contains(p.Hint, "start STREAM") {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if c, err := ParseCommand([]byte(`{"action":"stop","stream":7,"id":"x"}`)); err == nil || c.ID != "x" {
		t.Errorf("the id of a bad command is lost: %+v %v", c, err)
	}
}

// What an HTTP body would be refused for has the same name here.
func TestBadValuesAreNamedAsOverHTTP(t *testing.T) {
	t.Parallel()
	for text, typ := range map[string]string{
		`{"action":"start","stream":"c","interval":" "}`: "bad-interval",
		`{"action":"sync","stream":"c","record":""}`:     "bad-record",
		`{"action":"sync","stream":"c","record":"x y"}`:  "bad-record",
		`{"action":"sync","stream":"all","record":"3"}`:  "bad-record",
		"sync all record 3":                              "bad-record",
	} {
		_, err := ParseCommand([]byte(text))
		var p *stream.Problem
		if !errors.As(err, &p) || p.Type != typ || p.Status != 400 || p.Hint == "" {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := ParseCommand([]byte(`{"action":"start","stream":"c","interval":null,"record":null}`))
	if diff := cmp.Diff(Command{Action: "start", Stream: "c"}, c); diff != "" || err != nil {
		t.Errorf("null: %v %s", err, diff)
	}
}

func FuzzParseCommand(f *testing.F) {
	f.Add([]byte("start contacts every 5m"))
	f.Add([]byte(`{"action":"sync","stream":"contacts","record":"1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err == nil && (c.Action == "" || c.Action != "status" && c.Stream == "") {
			t.Fatalf("%q gives %+v", b, c)
		}
	})
}
