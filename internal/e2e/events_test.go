package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Whoever follows the events misses nothing by being away, over a restart of the
// daemon either; the daemon's end is the end of the answer, and no cut.
func TestEventsOverARestart(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "20", "--deals", "5", "--limits=false")
	s.replace(`interval = "1s"`, `interval = "1h"`)
	daemon := s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts", "deals")
	last := uint64(0)
	// follow reads events after the last one until f says that it was enough.
	follow := func(what string, f func(e client.Event) bool) {
		t.Helper()
		c := client.New(client.Options{Addr: s.http, Token: s.token()})
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		first := true
		for e, err := range c.Events(ctx, last) {
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if first && e.Type != client.EventDaemon {
				t.Errorf("%s: it begins with %s", what, e.Type)
			}
			if !first && e.ID <= last {
				t.Errorf("%s: %d after %d", what, e.ID, last)
			}
			first, last = false, e.ID
			if f(e) {
				return
			}
		}
		t.Fatalf("%s: the events ended", what)
	}
	state := func(name, want string) func(client.Event) bool {
		return func(e client.Event) bool {
			var st client.Status
			return e.Type == client.EventStream && json.Unmarshal(e.Data, &st) == nil && st.Name == name && st.State == want
		}
	}
	began := false
	follow("a stop", func(e client.Event) bool {
		if !began {
			began = true
			go func() { _, _ = s.hubpipe("stop", "contacts") }() // what comes of it is waited for
		}
		return state("contacts", "stopped")(e)
	})
	if _, err := s.hubpipe("stop", "deals"); err != nil {
		t.Fatal(err)
	}
	follow("what was missed", state("deals", "stopped"))

	ended := make(chan error, 1)
	c := client.New(client.Options{Addr: s.http, Token: s.token()})
	defer c.Close()
	here := make(chan struct{})
	go func() {
		var last error
		first := true
		for _, last = range c.Events(t.Context(), 0) {
			if first {
				close(here)
				first = false
			}
		}
		ended <- last
	}()
	<-here
	run, replayed := s.keyed("/v1/streams/deals/sync", "before")
	daemon.kill(syscall.SIGTERM)
	if code := daemon.exit(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if err := <-ended; err != nil {
		t.Errorf("the answer was cut: %v", err)
	}
	s.daemon()
	if again, known := s.keyed("/v1/streams/deals/sync", "before"); replayed || !known || again != run {
		t.Errorf("a request that comes again after the restart: %q, and before %q", again, run)
	}
	seen := ""
	follow("everything", func(e client.Event) bool {
		seen += e.Type + " "
		return strings.Contains(seen, "worker") && strings.Contains(seen, "portal") && strings.Count(seen, "stream") >= 2
	})
	out := s.get("/v1/logs?limit=5")
	if !strings.Contains(out, `"message":"ready"`) {
		t.Errorf("the log: %s", out)
	}
}

// keyed makes a request under a key, and tells whether it is answered as before.
func (s *system) keyed(path, key string) (text string, replayed bool) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.http+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token())
	r.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusAccepted {
		s.t.Fatalf("%s %s %v", res.Status, b, err)
	}
	return string(b), res.Header.Get("Idempotency-Replayed") != ""
}
