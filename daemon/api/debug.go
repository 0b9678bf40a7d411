package api

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	runtimepprof "runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// debugPrefix is where the profiles are: for who may change things alone, since
// taking one costs the daemon time and shows its inside.
const debugPrefix = "/debug/"

// mostSeconds bounds how long a profile is taken for.
const mostSeconds = 300

// timed are the profiles that are taken for a while; the others are of a moment.
func timed(name string) (http.HandlerFunc, bool) {
	switch name {
	case "profile":
		return pprof.Profile, true
	case "trace":
		return pprof.Trace, true
	}
	return nil, false
}

func profileNames() []string {
	names := []string{"profile", "trace"}
	for _, p := range runtimepprof.Profiles() {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	return names
}

func (s *Server) profiles(w http.ResponseWriter, r *http.Request, _ params) error {
	s.reply(w, r, http.StatusOK, client.Profiles{Profiles: profileNames()})
	return nil
}

func (s *Server) profile(w http.ResponseWriter, r *http.Request, q params) error {
	name := r.PathValue("profile")
	if !slices.Contains(profileNames(), name) {
		return &client.Problem{Type: client.TypeNotFound, Title: "there is no such profile", Status: http.StatusNotFound,
			Detail: fmt.Sprintf("%q is none", Clip(name)), Hint: "there are " + strings.Join(profileNames(), ", ")}
	}
	for p, most := range map[string]int{"debug": 2, "gc": 1} {
		text, given := q[p]
		if n, err := strconv.Atoi(text); given && (err != nil || len(text) > 1 || n < 0 || n > most) {
			return badParameter(p+" is 0 to "+strconv.Itoa(most), "%s is %q", p, Clip(text))
		}
	}
	seconds := 0
	if text, given := q["seconds"]; given {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostSeconds {
			return badParameter("seconds is 1 to "+strconv.Itoa(mostSeconds), "seconds is %q", Clip(text))
		}
		seconds = n
	}
	const usual = 30 // of a profile without the parameter
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout + time.Duration(max(seconds, usual))*time.Second))
	if h, ok := timed(name); ok {
		h(w, r)
		return nil
	}
	pprof.Handler(name).ServeHTTP(w, r)
	return nil
}

func (s *Server) logLevel(w http.ResponseWriter, r *http.Request, _ params) error {
	s.reply(w, r, http.StatusOK, s.o.Control.LogLevel())
	return nil
}

func (s *Server) setLogLevel(w http.ResponseWriter, r *http.Request, _ params) error {
	var body struct {
		Level string `json:"level"`
	}
	if err := readBody(w, r, levelBody, &body); err != nil {
		return err
	}
	level := strings.ToLower(strings.TrimSpace(body.Level))
	if !slices.Contains(client.LogLevels(), level) {
		return badBody(levelBody, "the level is %q", Clip(body.Level))
	}
	s.reply(w, r, http.StatusOK, s.o.Control.SetLogLevel(level))
	return nil
}
