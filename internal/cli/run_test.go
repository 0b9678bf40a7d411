package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker"
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
		path := configFile(t, serviceConfig(shortDir(t), broker))
		ctx, cancel := context.WithCancel(t.Context())
		log := &until{says: map[string]func(){"connect": cancel}}
		if code := runService(ctx, log, nil, "daemon", path); code != ExitOK {
			t.Errorf("%s: exit %d\n%s", broker, code, &log.said)
		}
		cancel()
	}
}

// A reload with which no worker could be made leaves the one that there is at
// work, and the daemon too: the broker's settings wait for a restart, and the
// files of before may have gone.
func TestAReloadLeavesTheWorkerThatItCannotMakeAnew(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	addr, ca := secureBroker(t, dir)
	before, after := filepath.Join(dir, "before.pem"), filepath.Join(dir, "after.pem")
	settings := `url = "mqtts://` + addr + `"
tls { ca = %q }`
	path := configFile(t, serviceConfig(dir, fmt.Sprintf(settings, before)))
	for _, name := range []string{before, after} {
		if err := os.WriteFile(name, ca, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hangup := make(chan struct{}, 1)
	log := &until{says: map[string]func(){"worker is running": func() {
		if err := os.WriteFile(path, []byte(serviceConfig(dir, fmt.Sprintf(settings, after))), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Remove(before); err != nil {
			t.Error(err)
		}
		hangup <- struct{}{}
	}, "goes on as it was": cancel}}
	late := time.AfterFunc(2*time.Minute, cancel)
	defer late.Stop()
	if code := runService(ctx, log, hangup, "up", path); code != ExitOK || len(log.says) > 0 {
		t.Errorf("exit %d\n%s", code, &log.said)
	}
}

// A daemon that `hubpipe` without a verb was told to start is one as any other: a
// hangup has it read its configuration again, and ends nothing.
func TestAHangupReloadsWhatWasOffered(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	hangup := make(chan struct{}, 1)
	log := &until{says: map[string]func(){"ready": func() { hangup <- struct{}{} }, "was read again": stop}}
	c := &command{stop: stop, env: Env{Stderr: log, Hangup: hangup, Getenv: func(string) (string, bool) { return "x", true }}}
	root := c.root()
	root.SetContext(ctx)
	c.config = configFile(t, serviceConfig(shortDir(t), `listen = "127.0.0.1:0"`)) // the flag has its default by now
	if err := c.before(root, nil); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, stop)
	defer late.Stop()
	if err := c.runDaemon(ctx, false); err != nil || len(log.says) > 0 {
		t.Errorf("%v\n%s", err, &log.said)
	}
	c.watching.Wait()
}

func runService(ctx context.Context, log io.Writer, hangup <-chan struct{}, verb, path string) int {
	return Run(ctx, Env{Args: []string{verb, "--config", path, "--log-level", "debug"}, Stdout: io.Discard, Stderr: log,
		Getenv: func(string) (string, bool) { return "x", true }, Hangup: hangup})
}

// serviceConfig is a configuration that asks nobody on the network.
func serviceConfig(dir, broker string) string {
	return `data_dir = "` + dir + `"
http { listen = "127.0.0.1:0" }
broker {
` + broker + `
}
portal "main" {
  token    = env("T")
  base_url = "http://127.0.0.1:1"
}
stream "contacts" { autostart = false }
`
}

// shortDir is a folder with room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // of the system's own folder
	return dir
}

// secureBroker is a broker of others with TLS, where it is and who signs it: one
// of ours behind a door, which knows nothing of the daemon's prefix.
func secureBroker(t *testing.T, dir string) (addr string, ca []byte) {
	t.Helper()
	socket := filepath.Join(dir, "other.sock")
	e, err := broker.NewEmbedded(broker.EmbeddedOptions{Socket: socket, Prefix: "other"})
	if err == nil {
		err = e.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewTLSServer(nil)
	web.Close()                                                                                    // its certificate is what is wanted
	door, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates}) //nolint:gosec // what the library has
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := door.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", socket)
			if err != nil {
				_ = in.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(way[0], way[1]) // until one of them has gone
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = door.Close()
		_ = e.Stop(context.Background())
		wg.Wait()
	})
	return door.Addr().String(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
}

// until is a log that does something when it says something, once.
type until struct {
	mu   sync.Mutex
	said bytes.Buffer
	says map[string]func()
}

func (u *until) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.said.Write(p)
	for text, f := range u.says {
		if strings.Contains(u.said.String(), text) {
			delete(u.says, text)
			f()
		}
	}
	return len(p), nil
}
