package api

import (
	"context"
	"net/http"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (s *Server) destinations(w http.ResponseWriter, r *http.Request, _ params) error {
	list, err := s.o.Control.Destinations(r.Context())
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, client.Destinations{Destinations: orEmpty(list)})
	return nil
}

func (s *Server) destination(w http.ResponseWriter, r *http.Request, _ params) error {
	d, err := s.o.Control.Destination(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, d)
	return nil
}

func (s *Server) checkDestination(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := s.lasting(r.Context())
	defer cancel()
	c, err := s.o.Control.CheckDestination(ctx, r.PathValue("name"))
	if err != nil {
		return err
	}
	// To read everything may have taken longer than an answer may.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	c.Streams = orEmpty(c.Streams)
	s.reply(w, r, http.StatusOK, c)
	return nil
}

func (s *Server) destinationTables(w http.ResponseWriter, r *http.Request, _ params) error {
	t, err := s.o.Control.DestinationTables(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	t.Tables = orEmpty(t.Tables)
	s.reply(w, r, http.StatusOK, t)
	return nil
}

func (s *Server) pauseDestination(w http.ResponseWriter, r *http.Request, _ params) error {
	return s.toDestination(w, r, s.o.Control.PauseDestination)
}

func (s *Server) resumeDestination(w http.ResponseWriter, r *http.Request, _ params) error {
	return s.toDestination(w, r, s.o.Control.ResumeDestination)
}

// toDestination does something to one and answers with how it stands then.
func (s *Server) toDestination(w http.ResponseWriter, r *http.Request, do func(context.Context, string) (client.Destination, error)) error {
	if err := readBody(w, r, noBody, &struct{}{}); err != nil {
		return err
	}
	d, err := do(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusOK, d)
	return nil
}

func (s *Server) resyncDestination(w http.ResponseWriter, r *http.Request, _ params) error {
	var body struct {
		Stream *string `json:"stream"`
	}
	if err := readBody(w, r, resyncBody, &body); err != nil {
		return err
	}
	stream := ""
	if body.Stream != nil {
		if stream = *body.Stream; stream == "" {
			return badBody(resyncBody, "the stream is empty")
		}
	}
	d, err := s.o.Control.ResyncDestination(r.Context(), r.PathValue("name"), stream)
	if err != nil {
		return err
	}
	s.reply(w, r, http.StatusAccepted, d)
	return nil
}
