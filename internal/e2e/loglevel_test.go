package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// The log says more or less while the daemon runs: by the command, and by the
// file with a reload or SIGHUP. What was set by hand stays through a reload
// that names the same level as before. No flag is overruled by the file.
func TestLogLevelWhileRunning(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "20", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}})
	p := s.daemon()
	const mark = "path=/v1/streams/contacts/schema" // of a request, at debug
	looks := func() { _, _ = s.curl(http.MethodGet, "/v1/streams/contacts/schema", "") }
	level := func(want string) {
		t.Helper()
		if out, err := s.hubpipe("log-level"); err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%q %v, want %q", out, err, want)
		}
	}
	looks()
	level("info")
	if out, err := s.hubpipe("log-level", "debug"); err != nil || strings.TrimSpace(out) != "debug (configured: info)" {
		t.Fatalf("%q %v", out, err)
	}
	if strings.Contains(p.log.String(), mark) {
		t.Error("it said too much before")
	}
	looks()
	p.says(t, mark)
	if code, body := s.curl(http.MethodPost, "/v1/reload", ""); code != http.StatusOK {
		t.Fatal(code, body)
	}
	level("debug (configured: info)")
	s.more("log { level = \"error\" }\n")
	if out, err := s.hubpipe("plan"); err != nil || !strings.Contains(out, "log.level: info → error") {
		t.Errorf("%s %v", out, err)
	}
	_ = p.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the file's level", func() error {
		if out, err := s.hubpipe("log-level"); err != nil || strings.TrimSpace(out) != "error" {
			return fmt.Errorf("%q %w", out, err)
		}
		return nil
	})
	if _, err := s.hubpipe("log-level", "loud"); err == nil || !strings.Contains(err.Error(), "trace, debug, info, warn or error") {
		t.Errorf("a level that there is not: %v", err)
	}
	p.kill(syscall.SIGTERM)

	s.daemon("--log-level", "debug")
	level("debug")
	if code, body := s.curl(http.MethodPost, "/v1/reload", ""); code != http.StatusOK {
		t.Fatal(code, body)
	}
	level("debug")
}
