package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (s *Server) healthz(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := s.o.Health.Live(); err != nil {
		return &client.Problem{Type: client.TypeUnhealthy, Title: "the daemon is not well", Status: http.StatusServiceUnavailable, Detail: err.Error()}
	}
	s.reply(w, r, http.StatusOK, client.Said{Status: "ok"})
	return nil
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := s.o.Health.Ready(); err != nil {
		return &client.Problem{Type: client.TypeNotReady, Title: "the daemon is not ready", Status: http.StatusServiceUnavailable, Detail: err.Error()}
	}
	s.reply(w, r, http.StatusOK, client.Said{Status: "ok"})
	return nil
}

func (s *Server) streams(w http.ResponseWriter, r *http.Request, _ params) error {
	list, err := s.o.Control.Streams(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Statuses{Streams: orEmpty(list)})
	return nil
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, _ params) error {
	status, err := s.o.Control.Stream(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, status)
	return nil
}

// known checks that the request's stream is one, and returns its name.
func (s *Server) known(r *http.Request) (string, error) {
	name := r.PathValue("stream")
	_, err := s.o.Control.Stream(r.Context(), name)
	return name, err
}

func (s *Server) schema(w http.ResponseWriter, r *http.Request, _ params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	b, err := s.o.Data.Schema(name)
	if err != nil {
		return s.missing(err, client.TypeNoSchema, "the first run of a stream of the CRM's objects reads it: start or sync it; other streams have none",
			"the properties of %q have not been read yet", name)
	}
	definitions, err := decodeDefinitions(b, name)
	if err != nil {
		return err
	}
	list := make([]client.Property, len(definitions))
	for i, d := range definitions {
		list[i] = client.Property{Name: d.Name, Label: d.Label, Type: d.Type, FieldType: d.FieldType, Group: d.Group, Calculated: d.Calculated}
	}
	s.reply(w, r, http.StatusOK, client.Schema{Properties: list})
	return nil
}

func (s *Server) runs(w http.ResponseWriter, r *http.Request, q params) error {
	limit, err := q.limit(defaultLimit, maxLimit)
	if err != nil {
		return err
	}
	query := client.RunQuery{Stream: q["stream"], State: q["state"], Limit: limit, Before: q["before"]}
	if _, given := q["state"]; given && !slices.Contains([]string{client.RunRunning, client.RunDone, client.RunFailed, client.RunStopped}, query.State) {
		return badParameter("state is running, done, failed or stopped", "state is %q", Clip(query.State))
	}
	if _, given := q["before"]; given && !isRun(query.Before) {
		return badParameter("before is the id of a run, such as r000000000009", "before is %q", Clip(query.Before))
	}
	list, err := s.o.Control.Runs(r.Context(), query)
	if err != nil {
		return err
	}
	// Streams that are gone have runs still, so that a name is held against the
	// configuration only where it finds nothing.
	if len(list) == 0 && query.Stream != "" {
		if _, err := s.o.Control.Stream(r.Context(), query.Stream); err != nil {
			return err
		}
	}
	if len(list) == limit {
		w.Header().Set("Link", nextLink(r, "before", list[limit-1].ID))
	}
	s.reply(w, r, http.StatusOK, client.Runs{Runs: orEmpty(list)})
	return nil
}

// isRun tells whether text may be the id of a run: as runPattern has it.
func isRun(text string) bool {
	digits, ok := strings.CutPrefix(text, "r")
	return ok && digits != "" && len(digits) <= 20 && strings.Trim(digits, "0123456789") == ""
}

func (s *Server) run1(w http.ResponseWriter, r *http.Request, _ params) error {
	id := r.PathValue("id")
	run, err := s.o.Control.Run(r.Context(), id)
	if err != nil {
		return s.missing(err, client.TypeUnknownRun, "list them with `hubpipe runs` or GET /v1/runs; old ones are forgotten",
			"there is no run %q", Clip(id))
	}
	s.reply(w, r, http.StatusOK, run)
	return nil
}

func (s *Server) workers(w http.ResponseWriter, r *http.Request, _ params) error {
	list, err := s.o.Control.Workers(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Workers{Workers: orEmpty(list)})
	return nil
}

func (s *Server) figures(w http.ResponseWriter, r *http.Request, _ params) error {
	f, err := s.o.Control.Figures(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, f)
	return nil
}

func (s *Server) portals(w http.ResponseWriter, r *http.Request, _ params) error {
	list, err := s.o.Control.Portals(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Portals{Portals: orEmpty(list)})
	return nil
}

func (s *Server) notifications(w http.ResponseWriter, r *http.Request, _ params) error {
	list, err := s.o.Control.Notifications(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Notifications{Notify: orEmpty(list)})
	return nil
}

func (s *Server) testNotification(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	if err := s.o.Control.TestNotification(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Said{Status: "sent"})
	return nil
}

// defaultLines and maxLines bound an answer of the log.
const (
	defaultLines = 200
	maxLines     = 10000
)

func (s *Server) logs(w http.ResponseWriter, r *http.Request, q params) error {
	limit, err := q.limit(defaultLines, maxLines)
	if err != nil {
		return err
	}
	level := strings.ToLower(q["level"])
	if _, given := q["level"]; given && !slices.Contains(client.LogLevels(), level) {
		return badParameter("level is trace, debug, info, warn or error", "level is %q", Clip(q["level"]))
	}
	lines := orEmpty(s.o.Logs.Lines(q["stream"], level, limit))
	// Streams that are gone have lines still.
	if len(lines) == 0 && q["stream"] != "" {
		if _, err := s.o.Control.Stream(r.Context(), q["stream"]); err != nil {
			return err
		}
	}
	s.reply(w, r, http.StatusOK, client.Lines{Lines: lines})
	return nil
}

// orEmpty makes a list that is not there an empty one: [] and never null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
