package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/notify"
)

// inbox is where somebody's webhook leads.
type inbox struct {
	mu   sync.Mutex
	got  []notify.Message
	down bool
}

func (i *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	b, err := io.ReadAll(r.Body)
	var m notify.Message
	if err != nil || json.Unmarshal(b, &m) != nil || i.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	i.got = append(i.got, m)
}

func (i *inbox) events() (began, ended, tests []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.got {
		if m.Test {
			tests = append(tests, m.Target)
		}
		for _, e := range m.Began {
			began = append(began, e.Kind+" "+e.Subject)
		}
		for _, e := range m.Ended {
			ended = append(ended, e.Kind+" "+e.Subject)
		}
	}
	return began, ended, tests
}

// A token is refused: somebody is told, once, also where the daemon is killed in
// between; its address shows nowhere.
func TestPeopleAreTold(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "50", "--deals", "50")
	box := &inbox{}
	hook := httptest.NewServer(box)
	t.Cleanup(hook.Close)
	s.more(fmt.Sprintf("notify \"ops\" {\n webhook = %q\n format = \"json\"\n after = \"1s\"\n}\nnotify \"unset\" {\n webhook = env(\"NOT_SET_ANYWHERE\")\n}\n", hook.URL+"/canary"))
	daemon, worker := s.daemon("--log-level", "debug"), s.worker()
	s.becomesEqual("contacts", "deals")
	if out, err := s.hubpipe("notify", "test", "ops"); err != nil {
		t.Fatal(err, out)
	}
	for _, name := range []string{"unset", "nobody"} {
		if out, err := s.hubpipe("notify", "test", name); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
	if _, _, tests := box.events(); len(tests) != 1 || tests[0] != "ops" {
		t.Errorf("tests: %v", tests)
	}
	if code, text := fetch(t, http.MethodPost, s.sim+"/_simulator/faults", `{"unauthorized":true}`, ""); code != http.StatusOK {
		t.Fatal(text)
	}
	told := func(what string, n int, f func() []string) {
		t.Helper()
		until(t, what, func() error {
			if got := f(); len(got) < n {
				out, _ := s.hubpipe("notify")
				return fmt.Errorf("%v\n%s", got, out)
			}
			return nil
		})
	}
	told("what has begun", 1, func() []string { began, _, _ := box.events(); return began })
	daemon.kill(syscall.SIGKILL)
	daemon = s.daemon("--log-level", "debug")
	until(t, "the streams' state", func() error {
		if st := s.status("contacts"); st.State != "blocked" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	out, err := s.hubpipe("notify", "--output", "json")
	if err != nil || !strings.Contains(out, `"told": true`) && !strings.Contains(out, `"told":true`) {
		t.Errorf("%v: %s", err, out)
	}
	began, _, _ := box.events()
	seen := map[string]bool{}
	for _, e := range began {
		if seen[e] || !strings.HasPrefix(e, "blocked ") && !strings.HasPrefix(e, "failing ") {
			t.Errorf("told %v", began)
		}
		seen[e] = true
	}
	for _, log := range []string{daemon.log.String(), worker.log.String(), out} {
		if strings.Contains(log, "canary") {
			t.Error("the webhook's address shows")
		}
	}
}
