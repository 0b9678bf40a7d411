package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Bounds of parameters.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxFields    = 2000
	maxWait      = 10 * time.Minute
	maxCursor    = 512
	maxChanges   = math.MaxInt32
)

// Clip bounds what someone sent before it is said back to them.
func Clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// params are the query parameters of a request, each given once.
type params map[string]string

// parseParams reads a query; a parameter that the route does not know, and one
// that is given twice, are problems. With loose nothing is held against it.
func parseParams(raw string, allowed []string, loose bool) (params, error) {
	values, err := url.ParseQuery(raw)
	if loose {
		return params{}, nil
	}
	if err != nil {
		return nil, badParameter("escape what is not a letter or digit as %XX", "the query does not decode: %v", err)
	}
	q := make(params, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		hint := "this route has no parameters"
		if len(allowed) > 0 {
			hint = "this route has " + strings.Join(allowed, ", ")
		}
		switch {
		case !slices.Contains(allowed, name):
			return nil, badParameter(hint, "there is no parameter %q", Clip(name))
		case len(values[name]) > 1:
			return nil, badParameter("give it once; lists are written with commas", "%q is given %d times", name, len(values[name]))
		}
		q[name] = values[name][0]
	}
	return q, nil
}

// limit is a count of at least 1 and at most top; def where it is not given.
func (q params) limit(def, top int) (int, error) {
	text, ok := q["limit"]
	if !ok {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > top {
		return 0, badParameter(fmt.Sprintf("limit is a whole number from 1 to %d", top), "limit is %q", Clip(text))
	}
	return n, nil
}

func (q params) bool(name string) (bool, error) {
	switch text, ok := q[name]; {
	case !ok || text == "false":
		return false, nil
	case text == "true":
		return true, nil
	default:
		return false, badParameter(name+" is true or false", "%s is %q", name, Clip(text))
	}
}

// wait is how long to wait for a run; 0 is not at all.
func (q params) wait() (time.Duration, error) {
	text, ok := q["wait"]
	if !ok {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return 0, badParameter("wait is a duration from 0s to 10m, such as 60s", "wait is %q", Clip(text))
	}
	return d, nil
}

func parseTime(text string) (time.Time, bool) {
	// A plus that nobody escaped arrives as a space.
	t, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "+", 1))
	return t, err == nil
}

// since is a place in the feed, as a number or as a time of commit; at is zero
// for a number.
func (q params) since() (position uint64, at time.Time, err error) {
	text, ok := q["since"]
	if !ok {
		return 0, time.Time{}, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, time.Time{}, nil
	}
	if t, ok := parseTime(text); ok {
		return 0, t, nil
	}
	return 0, time.Time{}, badParameter("since is the seq of a record, 0 for the beginning, or a time such as 2026-01-31T12:00:00Z",
		"since is %q", Clip(text))
}

// modifiedSince is milliseconds since 1970, 0 where it is not given.
func (q params) modifiedSince() (int64, error) {
	text, ok := q["modified_since"]
	if !ok {
		return 0, nil
	}
	t, good := parseTime(text)
	if !good {
		return 0, badParameter("modified_since is a time such as 2026-01-31T12:00:00Z", "modified_since is %q", Clip(text))
	}
	return t.UnixMilli(), nil
}

// states are those asked for; none is all of them.
func (q params) states() ([]stream.State, error) {
	text, ok := q["state"]
	switch {
	case !ok:
		return []stream.State{stream.Live}, nil
	case text == "all":
		return nil, nil
	}
	var out []stream.State
	for name := range strings.SplitSeq(text, ",") {
		s := stream.State(strings.TrimSpace(name))
		if !s.Valid() {
			return nil, badParameter("state is one or more of live, archived, purged and merged, with commas, or all", "state is %q", Clip(text))
		}
		out = append(out, s)
	}
	return out, nil
}

// fields are the properties asked for; nil is all of them.
func (q params) fields() ([]string, error) {
	text, ok := q["fields"]
	if !ok {
		return nil, nil
	}
	fields := strings.Split(text, ",")
	out := make([]string, 0, len(fields))
	for _, f := range fields {
		f = strings.TrimSpace(f)
		if f == "" || len(fields) > maxFields {
			return nil, badParameter(fmt.Sprintf("fields are up to %d names of properties, with commas", maxFields), "fields is %q", Clip(text))
		}
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out, nil
}

// A cursor is where the page before ended, wrapped so that nobody builds on
// that: the id of its last record, or its place in the feed.
const (
	idMark    = "r:"
	placeMark = "s:"
)

func makeCursor(mark, place string) string {
	if place == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(mark + place))
}

// cursor is what stands behind the mark, "" for the beginning.
func (q params) cursor(mark string) (string, error) {
	text := q["cursor"]
	if text == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	place, ok := strings.CutPrefix(string(b), mark)
	if err != nil || !ok || place == "" || len(text) > maxCursor {
		return "", badParameter(`cursor is the "next" of the page before, as it was given, with the same since`, "cursor is %q", Clip(text))
	}
	return place, nil
}

// place is the place in the feed after which to go on; known tells whether
// there is a cursor.
func (q params) place() (seq uint64, known bool, err error) {
	text, err := q.cursor(placeMark)
	if err != nil || text == "" {
		return 0, false, err
	}
	if seq, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, false, badParameter(`cursor is the "next" of the page before, as it was given`, "cursor is %q", Clip(q["cursor"]))
	}
	return seq, true, nil
}

// Bodies of the commands, for hints.
const (
	eraseBody     = `send {"record":"123"}`
	startBody     = `send {"interval":"5m"}, or nothing for the configured interval`
	syncBody      = `send {"record":"123"}, or nothing for the whole stream`
	reconcileBody = `send {"accept_deletes":true}, or nothing`
	resyncBody    = `send {"stream":"contacts"}, or nothing for all streams`
	levelBody     = `send {"level":"debug"}: trace, debug, info, warn or error`
	noBody        = "send no body: this takes none"
)

// readBody reads the JSON object of a request into v; no body at all is an
// empty one. What it does not know, and what has the wrong type, are problems;
// the hint says what would be right.
func readBody(w http.ResponseWriter, r *http.Request, hint string, v any) error {
	b, err := readAll(r)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return decodeBody(b, hint, v)
}

// readAll reads a body, which is bounded.
func readAll(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &client.Problem{Type: client.TypeBodyTooLarge, Title: "the body is too large", Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("a body has at most %d bytes", large.Limit), Hint: "no command needs that much: see /docs"}
	case err != nil:
		return nil, badBody("send the whole body", "the body ended early")
	}
	return b, nil
}

func decodeBody(b []byte, hint string, v any) error {
	text := strings.TrimSpace(string(b))
	if text == "" {
		return nil
	}
	if wrong := DecodeObject([]byte(text), v); wrong != "" {
		return badBody(hint, "the body: %s", wrong)
	}
	return nil
}

// DecodeObject reads a JSON object that has no members besides v's, and says
// what is wrong with it in words for people, "" where nothing is.
func DecodeObject(text []byte, v any) (wrong string) {
	if len(text) == 0 || text[0] != '{' {
		return "it is not a JSON object"
	}
	err := json.Unmarshal(text, v, json.RejectUnknownMembers(true))
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return fmt.Sprintf("there is no field %q", Clip(strings.TrimPrefix(string(semantic.JSONPointer), "/")))
	case errors.As(err, &semantic):
		return fmt.Sprintf("field %q cannot be a JSON %s", Clip(strings.TrimPrefix(string(semantic.JSONPointer), "/")), kindName(byte(semantic.JSONKind)))
	}
	return "it is not JSON: " + Clip(strings.TrimPrefix(err.Error(), "jsontext: "))
}

func kindName(kind byte) string {
	switch kind {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '0':
		return "number"
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	}
	return "value"
}
