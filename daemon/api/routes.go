package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	c := s.o.Control
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]string{"status": "ok"}, nil) })
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := c.Ready()
		if err != nil {
			err = &stream.Problem{Type: "not-ready", Title: "not ready", Status: 503, Detail: err.Error()}
		}
		answer(w, 200, map[string]string{"status": "ready"}, err)
	})
	m.HandleFunc("GET /v1/streams", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Streams(r.Context())
		answer(w, 200, map[string]any{"streams": v}, err)
	})
	m.HandleFunc("GET /v1/streams/{stream}", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Stream(r.Context(), r.PathValue("stream"))
		answer(w, 200, v, err)
	})
	m.HandleFunc("POST /v1/streams/{stream}/start", s.start)
	m.HandleFunc("POST /v1/streams/{stream}/stop", s.stop)
	m.HandleFunc("POST /v1/streams/{stream}/sync", s.sync)
	m.HandleFunc("POST /v1/streams/{stream}/resync", s.resync)
	m.HandleFunc("GET /v1/streams/{stream}/records", s.records)
	m.HandleFunc("GET /v1/streams/{stream}/records/{id}", s.record)
	m.HandleFunc("GET /v1/streams/{stream}/changes", s.changes)
	m.HandleFunc("GET /v1/streams/{stream}/schema", s.schema)
	m.HandleFunc("GET /v1/runs", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Runs(r.Context(), r.URL.Query().Get("stream"), r.URL.Query().Get("state"))
		answer(w, 200, map[string]any{"runs": v}, err)
	})
	m.HandleFunc("GET /v1/runs/{id}", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Run(r.Context(), r.PathValue("id"))
		answer(w, 200, v, err)
	})
	m.HandleFunc("GET /v1/workers", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Workers(r.Context())
		answer(w, 200, map[string]any{"workers": v}, err)
	})
	m.HandleFunc("GET /v1/portals", func(w http.ResponseWriter, r *http.Request) {
		v, err := c.Portals(r.Context())
		answer(w, 200, map[string]any{"portals": v}, err)
	})
	m.HandleFunc("POST /v1/shutdown", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 202, map[string]string{"status": "stopping"}, nil)
		c.Shutdown()
	})
	m.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, map[string]string{"status": "reloaded"}, c.Reload(r.Context()))
	})
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, &stream.Problem{Type: "unknown-route", Title: "unknown route", Status: 404, Detail: r.Method + " " + r.URL.Path,
			Hint: "GET /v1/streams lists the streams"})
	})
	return m
}

const all = "all"

// each does a command for one stream, or for all of them.
func (s *Server) each(ctx context.Context, name string, f func(name string) (client.Status, error)) (any, error) {
	if name != all {
		return f(name)
	}
	streams, err := s.o.Control.Streams(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]client.Status, 0, len(streams))
	for _, x := range streams {
		v, err := f(x.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return map[string]any{"streams": out}, nil
}

func (s *Server) start(w http.ResponseWriter, r *http.Request) {
	var b struct {
		Interval *string `json:"interval"`
	}
	if err := body(r, &b); err != nil {
		problem(w, err)
		return
	}
	interval := ""
	if b.Interval != nil {
		if interval = *b.Interval; interval == "" {
			problem(w, bad("the interval is empty", "leave it out, or give one such as 5m"))
			return
		}
	}
	//nolint:contextcheck // the closure uses the request's
	v, err := s.each(r.Context(), r.PathValue("stream"), func(n string) (client.Status, error) {
		return s.o.Control.Start(r.Context(), n, interval)
	})
	answer(w, 200, v, err)
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	var b struct{}
	if err := body(r, &b); err != nil {
		problem(w, err)
		return
	}
	//nolint:contextcheck // the closure uses the request's
	v, err := s.each(r.Context(), r.PathValue("stream"), func(n string) (client.Status, error) {
		return s.o.Control.Stop(r.Context(), n)
	})
	answer(w, 200, v, err)
}

func (s *Server) sync(w http.ResponseWriter, r *http.Request) {
	var b struct {
		Record string `json:"record"`
	}
	if err := body(r, &b); err != nil {
		problem(w, err)
		return
	}
	//nolint:contextcheck // the closure uses the request's
	s.runs(w, r, func(n string) (string, error) { return s.o.Control.Sync(r.Context(), n, b.Record) })
}

func (s *Server) resync(w http.ResponseWriter, r *http.Request) {
	var b struct{}
	if err := body(r, &b); err != nil {
		problem(w, err)
		return
	}
	//nolint:contextcheck // the closure uses the request's
	s.runs(w, r, func(n string) (string, error) { return s.o.Control.Resync(r.Context(), n) })
}

// runs begins a run and, where it was asked for, waits for its end.
func (s *Server) runs(w http.ResponseWriter, r *http.Request, f func(name string) (string, error)) {
	wait := time.Duration(0)
	if q := r.URL.Query().Get("wait"); q != "" {
		d, err := time.ParseDuration(q)
		if err != nil || d < 0 || d > time.Hour {
			problem(w, bad("wait is not a duration up to 1h: "+q, "?wait=60s"))
			return
		}
		wait = d
	}
	name := r.PathValue("stream")
	if name == all {
		streams, err := s.o.Control.Streams(r.Context())
		ids := map[string]string{}
		for _, x := range streams {
			var id string
			if id, err = f(x.Name); err != nil {
				break
			}
			ids[x.Name] = id
		}
		answer(w, 202, map[string]any{"runs": ids}, err)
		return
	}
	id, err := f(name)
	if err != nil || wait == 0 {
		answer(w, 202, map[string]string{"run": id}, err)
		return
	}
	run, ended, err := s.await(r.Context(), id, wait)
	if !ended {
		answer(w, 202, map[string]string{"run": id}, err)
		return
	}
	answer(w, 200, run, err)
}

func (s *Server) await(ctx context.Context, id string, wait time.Duration) (run client.Run, ended bool, err error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		if run, err = s.o.Control.Run(ctx, id); err != nil || run.Ended != nil {
			return run, err == nil, err
		}
		select {
		case <-t.C:
		case <-end.C:
			return run, false, nil
		case <-ctx.Done():
			return run, false, ctx.Err()
		case <-s.quit:
			return run, false, nil
		}
	}
}

// query reads what the records route takes.
func (s *Server) query(r *http.Request) (Query, []string, error) {
	q := r.URL.Query()
	out := Query{After: q.Get("cursor"), Limit: 100, States: []stream.State{stream.Live}}
	for name := range q {
		switch name {
		case "cursor", "limit", "state", "since", "modified_since", "fields":
		default:
			return out, nil, bad("unknown parameter "+name, "limit, cursor, since, modified_since, state and fields are understood")
		}
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1000 {
			return out, nil, bad("limit must be 1 to 1000, not "+v, "go on with the cursor in `next`")
		}
		out.Limit = n
	}
	if v := q.Get("state"); v == "all" {
		out.States = nil
	} else if v != "" {
		out.States = nil
		for x := range strings.SplitSeq(v, ",") {
			if !stream.State(x).Valid() {
				return out, nil, bad("unknown state "+x, "live, archived, purged, merged or all")
			}
			out.States = append(out.States, stream.State(x))
		}
	}
	if v := q.Get("since"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t, errTime := time.Parse(time.RFC3339, v)
			if errTime != nil {
				return out, nil, bad("since is neither a position nor a time: "+v, "a feed position, or a time such as 2026-01-31T12:00:00Z")
			}
			if n, err = s.o.Data.PositionAt(r.Context(), r.PathValue("stream"), t); err != nil {
				return out, nil, err
			}
		}
		out.Since = n
	}
	if v := q.Get("modified_since"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return out, nil, bad("modified_since is not a time: "+v, "a time such as 2026-01-31T12:00:00Z")
		}
		out.ModifiedSince = t.UnixMilli()
	}
	var fields []string
	if v := q.Get("fields"); v != "" {
		fields = strings.Split(v, ",")
	}
	return out, fields, nil
}

func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("stream")
	if _, err := s.o.Control.Stream(r.Context(), name); err != nil {
		problem(w, err)
		return
	}
	q, fields, err := s.query(r)
	if err != nil {
		problem(w, err)
		return
	}
	var b []byte
	lines := strings.Contains(r.Header.Get("Accept"), "ndjson")
	n := 0
	next, err := s.o.Data.Records(r.Context(), name, q, func(rec *stream.Record) error {
		if n++; n > 1 && !lines {
			b = append(b, ',')
		}
		b = appendRecord(b, rec, fields)
		if lines {
			b = append(b, '\n')
		}
		return nil
	})
	if err != nil {
		problem(w, err)
		return
	}
	if lines {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = w.Write(b)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"records":[%s],"next":%q}`+"\n", b, next)
}

func (s *Server) record(w http.ResponseWriter, r *http.Request) {
	rec, err := s.o.Data.Record(r.PathValue("stream"), r.PathValue("id"))
	if err == nil && rec == nil {
		err = &stream.Problem{Type: "unknown-record", Title: "unknown record", Status: 404, Detail: r.PathValue("id")}
	}
	if err != nil {
		problem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(appendRecord(nil, rec, nil), '\n'))
}

func (s *Server) schema(w http.ResponseWriter, r *http.Request) {
	b, err := s.o.Data.Schema(r.PathValue("stream"))
	if err == nil && b == nil {
		err = &stream.Problem{Type: "no-schema", Title: "the definitions have not been read yet", Status: 404}
	}
	answer(w, 200, map[string]any{"properties": json.RawMessage(b)}, err)
}

// changes writes the feed, one record a line; with follow it goes on until the
// reader goes.
func (s *Server) changes(w http.ResponseWriter, r *http.Request) {
	name, q := r.PathValue("stream"), r.URL.Query()
	if _, err := s.o.Control.Stream(r.Context(), name); err != nil {
		problem(w, err)
		return
	}
	since, err := strconv.ParseUint("0"+q.Get("since"), 10, 64)
	if err != nil {
		problem(w, bad("since is not a position: "+q.Get("since"), "0 is the beginning"))
		return
	}
	limit, err := strconv.Atoi("0" + q.Get("limit"))
	if err != nil {
		problem(w, bad("limit is not a number: "+q.Get("limit"), ""))
		return
	}
	sse := strings.Contains(r.Header.Get("Accept"), "event-stream")
	w.Header().Set("Content-Type", "application/x-ndjson")
	if sse {
		w.Header().Set("Content-Type", "text/event-stream")
	}
	changed, stop := s.o.Data.Watch()
	defer stop()
	out := http.NewResponseController(w)
	for {
		var b []byte
		last, err := s.o.Data.Changes(r.Context(), name, since, limit, func(rec *stream.Record) error {
			b = b[:0]
			if sse {
				b = fmt.Appendf(b, "id: %d\ndata: ", rec.Seq)
			}
			b = append(appendRecord(b, rec, nil), '\n')
			if sse {
				b = append(b, '\n')
			}
			_, err := w.Write(b)
			return err
		})
		if err != nil || out.Flush() != nil || q.Get("follow") != "true" || limit > 0 {
			return
		}
		since = last
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		case <-s.quit:
			return
		}
	}
}

// appendRecord writes a record; the properties' bytes are as HubSpot sent
// them, unless some are chosen.
func appendRecord(b []byte, r *stream.Record, fields []string) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendQuote(b, r.ID)
	b = fmt.Appendf(b, `,"seq":%d,"state":%q,"createdAt":%q,"updatedAt":%q`, r.Seq, r.State, r.CreatedAt, r.UpdatedAt)
	b = appendOptional(b, "archivedAt", r.ArchivedAt)
	b = appendOptional(b, "mergedInto", r.MergedInto)
	b = append(b, `,"properties":`...)
	switch {
	case r.Properties == nil:
		b = append(b, "{}"...)
	case fields == nil:
		b = append(b, r.Properties...)
	default:
		b = append(b, chosen(r.Properties, fields)...)
	}
	return append(b, `,"associations":{}}`...)
}

func appendOptional(b []byte, name, v string) []byte {
	if v == "" {
		return fmt.Appendf(b, `,%q:null`, name)
	}
	return fmt.Appendf(b, `,%q:%q`, name, v)
}

func chosen(properties []byte, fields []string) []byte {
	all, some := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if json.Unmarshal(properties, &all) != nil {
		return []byte("{}")
	}
	for _, f := range fields {
		if v, ok := all[f]; ok {
			some[f] = v
		}
	}
	out, err := json.Marshal(some)
	if err != nil {
		return []byte("{}")
	}
	return out
}
