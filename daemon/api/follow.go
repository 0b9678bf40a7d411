package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// followBatch is how many changes are read from one snapshot while a follower
// catches up, so that a slow one does not hold a snapshot for long.
const followBatch = 5000

// headerEpoch tells a reader of the feed that something was lost or restored
// since it read last: its place holds, but what it has may be more than there
// is.
const headerEpoch = "Hubpipe-Epoch"

func (s *Server) changes(w http.ResponseWriter, r *http.Request, q params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	follow, err := q.bool("follow")
	if err != nil {
		return err
	}
	limit, err := q.limit(0, maxChanges)
	if err != nil {
		return err
	}
	// A browser's event source goes on where it was by this header.
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		q["since"] = last
	}
	since, err := s.position(r.Context(), name, q)
	if err != nil {
		return err
	}
	w.Header().Set(headerEpoch, s.o.Epoch)
	o := newOutput(w, prefer(r, mediaNDJSON, mediaSSE))
	write := func(rec *stream.Record) error {
		var err error
		if o.media == mediaSSE {
			o.buf = append(o.buf, "event: change\nid: "...)
			o.buf = strconv.AppendUint(o.buf, rec.Seq, 10)
			o.buf = append(o.buf, "\ndata: "...)
		}
		if o.buf, err = AppendRecord(o.buf, rec, nil); err != nil {
			return err
		}
		o.buf = append(o.buf, '\n')
		if o.media == mediaSSE {
			o.buf = append(o.buf, '\n')
		}
		return o.send(false)
	}
	if r.Method == http.MethodHead { // nothing of it is read
		return s.end(o, r, nil)
	}
	if follow {
		return s.end(o, r, s.follow(o, r, name, since, limit, write))
	}
	_, err = s.o.Data.Changes(r.Context(), name, since, limit, write)
	return s.end(o, r, err)
}

// follow writes what there is and then what comes, until limit is reached, the
// reader goes or the server stops.
func (s *Server) follow(o *output, r *http.Request, name string, since uint64, limit int, write func(*stream.Record) error) error {
	changed, unwatch := s.o.Data.Watch()
	defer unwatch()
	ctx := r.Context()
	alive := time.NewTicker(s.o.KeepAlive)
	defer alive.Stop()
	for total := 0; ; {
		batch := followBatch
		if limit > 0 {
			batch = min(batch, limit-total)
		}
		n := 0
		last, err := s.o.Data.Changes(ctx, name, since, batch, func(rec *stream.Record) error {
			n++
			return write(rec)
		})
		if ctx.Err() != nil {
			return nil // a follower can go on from any line
		}
		if err != nil {
			return err
		}
		since = max(since, last)
		total += n
		if limit > 0 && total >= limit {
			return nil
		}
		if n == batch && !s.stopping() {
			continue
		}
		if err := o.send(true); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-alive.C:
			if o.media == mediaSSE {
				o.buf = append(o.buf, ": still here\n\n"...)
			}
		case <-s.quit:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Server) events(w http.ResponseWriter, r *http.Request, q params) error {
	text := q["last_event_id"]
	if h := r.Header.Get("Last-Event-ID"); h != "" {
		text = h
	}
	last, err := strconv.ParseUint(text, 10, 64)
	if err != nil && text != "" {
		return badParameter("last_event_id is the id of the last event that came", "last_event_id is %q", Clip(text))
	}
	o := newOutput(w, mediaSSE)
	if r.Method == http.MethodHead {
		return s.end(o, r, nil)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events := s.o.Events.Subscribe(ctx, last)
	alive := time.NewTicker(s.o.KeepAlive)
	defer alive.Stop()
	o.buf = append(o.buf, ": hubpipe\n\n"...)
	for {
		if len(events) == 0 {
			if err := o.send(true); err != nil {
				return s.end(o, r, err)
			}
		}
		select {
		case e, ok := <-events:
			if !ok {
				return s.end(o, r, nil)
			}
			o.buf = append(o.buf, "event: "+e.Type+"\nid: "...)
			o.buf = strconv.AppendUint(o.buf, e.ID, 10)
			o.buf = append(o.buf, "\ndata: "...)
			o.buf = append(o.buf, e.Data...)
			o.buf = append(o.buf, "\n\n"...)
			if err := o.send(false); err != nil {
				return s.end(o, r, err)
			}
		case <-alive.C:
			o.buf = append(o.buf, ": still here\n\n"...)
		case <-s.quit:
			return s.end(o, r, nil)
		case <-ctx.Done():
			return nil
		}
	}
}

// stopping tells whether Stop has begun.
func (s *Server) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}
