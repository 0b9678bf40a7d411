package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Known gives an error of the daemon the problem that it is shown as. An empty
// Detail is filled with the error's own words.
type Known struct {
	Err     error
	Problem client.Problem
}

func internalProblem() *client.Problem {
	return &client.Problem{Type: client.TypeInternal, Title: "the daemon could not do that", Status: http.StatusInternalServerError,
		Hint: "the daemon's log says why"}
}

// known are the errors that mean the same in every daemon.
func known() []Known {
	return []Known{
		{errStopping, client.Problem{Type: client.TypeStopping, Title: "the daemon is stopping", Status: http.StatusServiceUnavailable,
			Hint: "try again when it has been started again"}},
		{context.DeadlineExceeded, client.Problem{Type: client.TypeTimeout, Title: "that took too long", Status: http.StatusGatewayTimeout,
			Detail: "the daemon did not finish in time", Hint: "try again; what was begun may be done all the same"}},
		{context.Canceled, client.Problem{Type: client.TypeStopping, Title: "the request was given up", Status: http.StatusServiceUnavailable,
			Detail: "the daemon is stopping, or nobody waits for the answer any more"}},
	}
}

var errStopping = errors.New("the daemon is stopping")

// problemOf is the problem that an error is answered as. What is not known is
// told to the log alone: it could hold what is nobody's business.
func (s *Server) problemOf(r *http.Request, err error) *client.Problem {
	p, expected := Describe(err, s.o.Known)
	if !expected {
		s.log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	return p
}

// Describe is the one place where an error becomes what people and scripts get,
// whatever door they came by. An error that is not expected is described
// without its words, which are for the log.
func Describe(err error, daemons []Known) (p *client.Problem, expected bool) {
	var shown *client.Problem
	var domain *stream.Problem
	switch {
	case errors.As(err, &shown):
		c := *shown
		return withStatus(&c), true
	case errors.As(err, &domain):
		return withStatus(ProblemOf(domain)), true
	}
	for _, k := range append(slices.Clip(daemons), known()...) {
		if errors.Is(err, k.Err) {
			c := k.Problem
			if c.Detail == "" {
				c.Detail = err.Error()
			}
			return withStatus(&c), true
		}
	}
	return internalProblem(), false
}

// withStatus makes sure that a problem is sent as an error.
func withStatus(p *client.Problem) *client.Problem {
	if p.Status < 400 || p.Status > 599 {
		p.Status = http.StatusInternalServerError
	}
	return p
}

// notFound tells whether err says that there is none, in one of the daemon's
// words.
func (s *Server) notFound(err error) bool {
	for _, k := range s.o.Known {
		if k.Problem.Status == http.StatusNotFound && errors.Is(err, k.Err) {
			return true
		}
	}
	return false
}

// missing is err, said better where it means that there is none.
func (s *Server) missing(err error, typ, hint, format string, args ...any) error {
	if !s.notFound(err) {
		return err
	}
	detail := fmt.Sprintf(format, args...)
	return &client.Problem{Type: typ, Title: strings.ReplaceAll(typ, "-", " "), Status: http.StatusNotFound, Detail: detail, Hint: hint}
}

func badParameter(hint, format string, args ...any) *client.Problem {
	return &client.Problem{Type: client.TypeBadParameter, Title: "a parameter is wrong", Status: http.StatusBadRequest,
		Detail: fmt.Sprintf(format, args...), Hint: hint}
}

func badBody(hint, format string, args ...any) *client.Problem {
	return &client.Problem{Type: client.TypeBadBody, Title: "the body is wrong", Status: http.StatusBadRequest,
		Detail: fmt.Sprintf(format, args...), Hint: hint}
}

// problem sends a problem as the answer.
func (s *Server) problem(w http.ResponseWriter, p *client.Problem) {
	b, err := json.Marshal(p)
	if err != nil { // strings and a number always encode
		s.log.Error("encode a problem", "error", err)
	}
	h := w.Header()
	for _, name := range []string{"ETag", "Link", "Trailer", "Content-Disposition"} {
		h.Del(name) // of the answer that it would have been
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", client.MediaProblem)
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n'))
}

// fail answers with an error. Nothing may have been written before.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.problem(w, s.problemOf(r, err))
}

// reply answers with a value as JSON.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.fail(w, r, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
