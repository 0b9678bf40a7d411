package api

import (
	"net/http"
	"time"
)

// backup sends all that the store holds. One that fails after its beginning is
// cut, and by its form, too, no whole.
func (s *Server) backup(w http.ResponseWriter, r *http.Request, _ params) error {
	w.Header().Set("Content-Disposition", `attachment; filename="hubpipe.backup"`)
	o := newOutput(w, mediaBinary)
	if r.Method == http.MethodHead {
		return s.end(o, r, nil)
	}
	o.quit = s.quit
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		o.interrupt(done)
	}()
	err := s.o.Data.Backup(r.Context(), writing{o})
	close(done)
	<-ended
	return s.end(o, r, err)
}

func (s *Server) doctor(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := s.lasting(r.Context())
	defer cancel()
	d, err := s.o.Control.Doctor(ctx)
	if err != nil {
		return err
	}
	// To read everything may have taken longer than an answer may.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	d.Findings, d.Streams = orEmpty(d.Findings), orEmpty(d.Streams)
	s.reply(w, r, http.StatusOK, d)
	return nil
}

// interrupt ends a write that waits for its reader when the answer has to end,
// and returns then or when done is closed.
func (o *output) interrupt(done <-chan struct{}) {
	select {
	case <-o.quit:
		_ = o.rc.SetWriteDeadline(time.Now()) // or the connection has gone
	case <-done:
	}
}

// writing sends what is written to it, and not only gathers.
type writing struct{ o *output }

func (w writing) Write(p []byte) (int, error) {
	w.o.buf = append(w.o.buf, p...)
	return len(p), w.o.send(false)
}
