package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// How often a run that is waited for is looked at.
const (
	lookSoonest = 20 * time.Millisecond
	lookLatest  = time.Second
)

func (s *Server) start(w http.ResponseWriter, r *http.Request, _ params) error {
	var body struct {
		Interval *string `json:"interval"`
	}
	if err := readBody(w, r, startBody, &body); err != nil {
		return err
	}
	interval := ""
	if body.Interval != nil {
		if interval = strings.TrimSpace(*body.Interval); interval == "" {
			return stream.BadInterval("the interval is empty")
		}
	}
	return s.command(w, r, func(ctx context.Context, name string) (client.Status, error) {
		return s.o.Control.Start(ctx, name, interval)
	})
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	return s.command(w, r, s.o.Control.Stop)
}

// command does something to one stream or to all of them, and answers with how
// they stand.
func (s *Server) command(w http.ResponseWriter, r *http.Request, do func(context.Context, string) (client.Status, error)) error {
	name := r.PathValue("stream")
	if name != client.All {
		status, err := do(r.Context(), name)
		if err != nil {
			return err
		}
		s.reply(w, r, http.StatusOK, status)
		return nil
	}
	answer := client.Statuses{Streams: []client.Status{}}
	//nolint:contextcheck // the closure uses the request's
	failed, err := s.each(r, func(name string) error {
		status, err := do(r.Context(), name)
		if err == nil {
			answer.Streams = append(answer.Streams, status)
		}
		return err
	})
	if err != nil {
		return err
	}
	answer.Failed = failed
	s.reply(w, r, http.StatusOK, answer)
	return nil
}

// each does something for every stream; see Each.
func (s *Server) each(r *http.Request, do func(name string) error) ([]client.Failure, error) {
	list, err := s.o.Control.Streams(r.Context())
	if err != nil {
		return nil, err
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return Each(r.Context(), names, do, func(err error) *client.Problem { return s.problemOf(r, err) })
}

// Each does something for every one of the streams, and says what the others
// were refused for. One that fails holds the others up only where it is the
// request that is wrong, since then all would fail; where all fail, what the
// first was refused for is the error.
func Each(ctx context.Context, streams []string, do func(name string) error, problem func(error) *client.Problem) ([]client.Failure, error) {
	var failed []client.Failure
	for _, name := range streams {
		err := do(name)
		if err == nil {
			continue
		}
		p := problem(err)
		if p.Status == http.StatusBadRequest || errors.Is(err, ctx.Err()) {
			return nil, p
		}
		failed = append(failed, client.Failure{Stream: name, Error: p})
	}
	if len(failed) > 0 && len(failed) == len(streams) {
		return nil, failed[0].Error
	}
	return failed, nil
}

func (s *Server) sync(w http.ResponseWriter, r *http.Request, q params) error {
	var body struct {
		Record *string `json:"record"`
	}
	if err := readBody(w, r, syncBody, &body); err != nil {
		return err
	}
	record := ""
	if body.Record != nil {
		record = strings.TrimSpace(*body.Record)
		if p := stream.BadRecord(record); p != nil {
			return p
		}
		if r.PathValue("stream") == client.All {
			return stream.RecordOfAll()
		}
	}
	return s.begin(w, r, q, func(ctx context.Context, name string) (client.Run, error) {
		return s.o.Control.Sync(ctx, name, record)
	})
}

func (s *Server) resync(w http.ResponseWriter, r *http.Request, q params) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	return s.begin(w, r, q, s.o.Control.Resync)
}

func (s *Server) reconcile(w http.ResponseWriter, r *http.Request, q params) error {
	var body client.ReconcileBody
	if err := readBody(w, r, reconcileBody, &body); err != nil {
		return err
	}
	return s.begin(w, r, q, func(ctx context.Context, name string) (client.Run, error) {
		return s.o.Control.Reconcile(ctx, name, body.AcceptDeletes)
	})
}

func (s *Server) erase(w http.ResponseWriter, r *http.Request, _ params) error {
	var body client.EraseBody
	if err := readBody(w, r, eraseBody, &body); err != nil {
		return err
	}
	name, record := r.PathValue("stream"), strings.TrimSpace(body.Record)
	switch {
	case record == "":
		return badBody(eraseBody, "it names no record")
	case name == client.All:
		return stream.RecordOfAll()
	}
	if err := s.o.Control.Erase(r.Context(), name, record); err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Erased{Status: "erased", Stream: name, Record: record})
	return nil
}

func (s *Server) erasures(w http.ResponseWriter, r *http.Request, _ params) error {
	list, err := s.o.Control.Erasures(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Erasures{Erasures: orEmpty(list)})
	return nil
}

// begin makes a run of one stream or of all, and waits for its end where that
// is asked: 200 with the run when it has ended, else 202 with its id.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, q params, do func(context.Context, string) (client.Run, error)) error {
	wait, err := q.wait()
	if err != nil {
		return err
	}
	until := time.Now().Add(wait)
	name := r.PathValue("stream")
	if name != client.All {
		run, err := do(r.Context(), name)
		if err != nil {
			return err
		}
		if run, err = s.await(w, r, run, until); err != nil {
			return err
		}
		if wait > 0 && !run.Running() {
			s.reply(w, r, http.StatusOK, run)
		} else {
			s.reply(w, r, http.StatusAccepted, client.Started{Run: run.ID})
		}
		return nil
	}
	runs := []client.Run{}
	//nolint:contextcheck // the closure uses the request's
	failed, err := s.each(r, func(name string) error {
		run, err := do(r.Context(), name)
		if err == nil {
			runs = append(runs, run)
		}
		return err
	})
	if err != nil {
		return err
	}
	ended := wait > 0
	started := make([]client.Started, len(runs))
	for i := range runs {
		if runs[i], err = s.await(w, r, runs[i], until); err != nil {
			return err
		}
		ended = ended && !runs[i].Running()
		started[i] = client.Started{Stream: runs[i].Stream, Run: runs[i].ID}
	}
	if ended {
		s.reply(w, r, http.StatusOK, client.AllRuns{Runs: runs, Failed: failed})
	} else {
		s.reply(w, r, http.StatusAccepted, client.AllStarted{Runs: started, Failed: failed})
	}
	return nil
}

// await gives the run as it is when it has ended, at the time given, or when
// the server stops, whichever comes first.
func (s *Server) await(w http.ResponseWriter, r *http.Request, run client.Run, until time.Time) (client.Run, error) {
	left := time.Until(until)
	if left <= 0 || !run.Running() {
		return run, nil
	}
	_ = http.NewResponseController(w).SetWriteDeadline(until.Add(writeTimeout))
	changed, stop := s.o.Data.Watch()
	defer stop()
	end := time.NewTimer(left)
	defer end.Stop()
	for {
		now, err := s.o.Control.Run(r.Context(), run.ID)
		if err != nil {
			return run, err
		}
		if run = now; !run.Running() {
			return run, nil
		}
		// Every end of a run is a commit; at a thousand of them a second it is
		// not looked for after each.
		select {
		case <-time.After(lookSoonest):
		case <-end.C:
			return run, nil
		}
		select {
		case <-changed:
		case <-time.After(lookLatest):
		case <-end.C:
			return run, nil
		case <-s.quit:
			return run, nil
		case <-r.Context().Done():
			return run, r.Context().Err()
		}
	}
}

func (s *Server) shutdown(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	s.reply(w, r, http.StatusAccepted, client.Said{Status: "stopping"})
	_ = http.NewResponseController(w).Flush()
	s.o.Control.Shutdown()
	return nil
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	plan, err := s.o.Control.Reload(r.Context())
	if err != nil {
		p := s.problemOf(r, err)
		if p.Type == client.TypeInternal {
			p = &client.Problem{Type: client.TypeBadConfiguration, Title: "the configuration was not taken over", Status: http.StatusConflict,
				Detail: err.Error(), Hint: "the one before goes on; `hubpipe check` shows what is wrong"}
		}
		return p
	}
	s.reply(w, r, http.StatusOK, client.Reloaded{Status: "reloaded", Plan: plan})
	return nil
}

func (s *Server) plan(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	plan, err := s.o.Control.Plan(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, plan)
	return nil
}
