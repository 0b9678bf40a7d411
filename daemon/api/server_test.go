package api_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func TestListenErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ listen, socket, says string }{
		{b.server.Addr(), "", "is in use"},
		{"8377", "", "not an address"},
		{":0", "", "not an address of this machine alone"},
		{"0.0.0.0:0", "", "not an address of this machine alone"},
		{"192.0.2.1:0", "", "not an address of this machine alone"},
		{"hubpipe.example:0", "", "not an address of this machine alone"},
		{"127.0.0.1:99999", "", "listen on"},
		{"127.0.0.1:0", b.socket, "another daemon answers"},
		{"127.0.0.1:0", file, "is in the way"},
		{"127.0.0.1:0", filepath.Join(t.TempDir(), "none", "h"), "make the socket"},
		{"127.0.0.1:0", "/tmp/" + strings.Repeat("x", 100), "choose a data_dir of at most"},
	} {
		s := api.New(api.Options{Control: b.d, Data: b.d, Health: b.d, Listen: c.listen, Socket: c.socket, Authenticate: authenticate})
		err := s.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("listen %q, socket %q: %v", c.listen, c.socket, err)
		}
		if s.Addr() != "" {
			t.Errorf("%q is left open", s.Addr())
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Errorf("stop of what never started: %v", err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "mine" {
		t.Errorf("the file in the way: %q %v", got, err)
	}
	if _, err := b.c.Streams(t.Context()); err != nil {
		t.Errorf("the first daemon does not answer any more: %v", err)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	b := setup(t)
	info, err := os.Stat(b.socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(b.socket), ".s*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(b.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	// What a killed daemon leaves behind is in nobody's way.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again := api.New(api.Options{Control: b.d, Data: b.d, Health: b.d, Socket: b.socket})
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := client.New(client.Options{Addr: b.socket})
	defer c.Close()
	if err := c.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if err := again.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone := b.base
	if err := b.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{gone, b.socket} {
		c := client.New(client.Options{Addr: addr, Token: token})
		_, err := c.Streams(t.Context())
		if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", addr, err)
		}
		for _, err := range c.Changes(t.Context(), "contacts", client.ChangeQuery{}) {
			if !errors.Is(err, client.ErrUnreachable) {
				t.Error(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Streams(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
			t.Errorf("given up: %v", err)
		}
	}
}

// Silent and slow connections end by themselves, and a request that is not HTTP
// harms nobody.
func TestRawConnections(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, text := range []string{"\x00\x01\x02\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /v1/streams HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(conn, text)
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if line, _, _ := strings.Cut(string(answer), "\r\n"); !strings.HasPrefix(line, "HTTP/1.1 4") && !strings.HasPrefix(line, "HTTP/1.1 5") && line != "" {
			t.Errorf("%.20q is answered with %q", text, line)
		}
	}
	if _, err := b.c.Streams(t.Context()); err != nil {
		t.Error(err)
	}
}

// Stop waits for what goes on, and cuts it when its time is over.
func TestStopWaits(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}, 2), make(chan struct{})
	slow := func(o *api.Options) {
		o.Grace = time.Minute
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, "done")
		})
	}
	b := setup(t, slow)
	body := make(chan string, 1)
	go func() {
		_, got := get(t, b, "/metrics", "")
		body <- got
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- b.server.Stop(t.Context()) }()
	until(t, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", b.server.Addr())
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(release)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if got := <-body; got != "done" {
		t.Errorf("%q", got)
	}
}

// It is no error of the server's that a request did not end; it is one that its
// own time has.
func TestStopCuts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		grace, time time.Duration
		want        error
	}{
		"the request's time": {10 * time.Millisecond, time.Minute, nil},
		"the server's time":  {time.Minute, 10 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, ended := make(chan struct{}), make(chan struct{})
			d := newDaemon()
			s := api.New(api.Options{Control: d, Data: d, Health: d, Listen: "127.0.0.1:0", Authenticate: authenticate, Grace: c.grace,
				Metrics: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					close(began)
					<-r.Context().Done()
					close(ended)
				})})
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/metrics", http.NoBody)
				req.Header.Set("Authorization", "Bearer "+token)
				res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
				if err == nil {
					res.Body.Close()
				}
				failed <- err
			}()
			<-began
			ctx, cancel := context.WithTimeout(t.Context(), c.time)
			defer cancel()
			if err := s.Stop(ctx); !errors.Is(err, c.want) {
				t.Errorf("stop: %v", err)
			}
			if err := <-failed; err == nil {
				t.Error("the request was not cut")
			}
			<-ended
		})
	}
}

// A connection that says nothing does not hold the end up.
func TestStopAndSilentConnections(t *testing.T) {
	t.Parallel()
	b := setup(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := b.c.Ready(t.Context()); err != nil { // the silent one was accepted before
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := b.server.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// Starting and stopping under requests leaves nothing behind and hangs nowhere.
func TestStartStopStress(t *testing.T) {
	t.Parallel()
	for range 20 {
		d := newDaemon()
		d.fill("contacts", 10)
		s := api.New(api.Options{Control: d, Data: d, Health: d, Events: d, Listen: "127.0.0.1:0", Authenticate: authenticate,
			Socket: filepath.Join(t.TempDir(), "h")})
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := client.New(client.Options{Addr: s.Addr(), Token: token})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range c.Changes(t.Context(), "contacts", client.ChangeQuery{Follow: true}) {
				}
			})
			wg.Go(func() { _, _ = c.SyncWait(t.Context(), "contacts", "", time.Minute) })
		}
		until(t, "some are in", func() bool { return d.watching() > 2 })
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Errorf("twice: %v", err)
		}
		wg.Wait()
		c.Close()
	}
}
