package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// The newest configuration takes the place of one that nobody took up, and
// nobody waits for it.
func TestTheNewestConfigurationCounts(t *testing.T) {
	t.Parallel()
	to := make(chan *config.Config, 1)
	for _, path := range []string{"one", "two", "three"} {
		replace(to, &config.Config{Path: path})
	}
	if got := <-to; got.Path != "three" {
		t.Errorf("%s", got.Path)
	}
}

// A service that is told to stop while it starts has done what it was told.
func TestAServiceMayBeStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	for _, broker := range []string{`listen = "127.0.0.1:0"`, `url = "mqtt://127.0.0.1:1"`} {
		dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of the system's own folder
		path := configFile(t, `data_dir = "`+dir+`"
http { listen = "127.0.0.1:0" }
broker { `+broker+` }
portal "main" { token = env("T") }
stream "contacts" { autostart = false }
`)
		ctx, cancel := context.WithCancel(t.Context())
		log := &until{text: "connect", reached: cancel}
		code := Run(ctx, Env{Args: []string{"daemon", "--config", path, "--log-level", "debug"}, Stdout: io.Discard, Stderr: log,
			Getenv: func(string) (string, bool) { return "x", true }})
		cancel()
		if code != ExitOK {
			t.Errorf("%s: exit %d\n%s", broker, code, &log.said)
		}
	}
}

// until is a log that calls reached when it says something.
type until struct {
	text    string
	reached func()

	mu   sync.Mutex
	said bytes.Buffer
}

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.said.Write(p); strings.Contains(u.said.String(), u.text) {
		u.reached()
	}
	return len(p), nil
}
