package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/metrics"
)

// scraped starts a daemon with so many streams and no worker.
func scraped(tb testing.TB, streams int) *Daemon {
	tb.Helper()
	dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	var text strings.Builder
	fmt.Fprintf(&text, "data_dir = %q\nhttp { listen = \"127.0.0.1:0\" }\nbroker { listen = \"127.0.0.1:0\" }\n", dir)
	for p := range 4 {
		fmt.Fprintf(&text, "portal \"p%d\" { token = env(\"TOKEN\") }\n", p)
	}
	for s := range streams {
		fmt.Fprintf(&text, "stream \"s%03d\" {\n portal = \"p%d\"\n object = \"p_thing%d\"\n}\n", s, s%4, s)
	}
	path := filepath.Join(dir, "hubpipe.hcl")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	cfg, diags, err := config.Load(config.Options{Path: path, Env: func(string) (string, bool) { return "canary-token", true }})
	if err != nil {
		tb.Fatalf("%v\n%s", err, diags)
	}
	d := New(Options{Config: cfg, Version: "test", Logger: hclog.NewNullLogger()})
	if err := d.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return d
}

// A daemon that was only just started can be read, and tells no secret.
func TestReading(t *testing.T) {
	t.Parallel()
	d := scraped(t, 12)
	w := httptest.NewRecorder()
	metrics.New(d.reading).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{`hubpipe_stream_info{object="p_thing3",portal="p3",stream="s003"} 1`, `hubpipe_stream_state{state="running",stream="s011"} 1`,
		`hubpipe_workers{state="online"} 0`, `hubpipe_bus_dropped_total{reason="busy"} 0`, `hubpipe_portal_blocked{portal="p0"} 0`, "hubpipe_broker_connected 1"} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("it lacks %s", want)
		}
	}
	if w.Code != http.StatusOK || strings.Contains(text, "canary") || strings.Contains(text, d.token) {
		t.Errorf("%d, or a secret is told", w.Code)
	}
}

// BenchmarkScrape is a whole scrape of a daemon with 200 streams: what the
// ledger stands still for, and the writing.
func BenchmarkScrape(b *testing.B) {
	d := scraped(b, 200)
	h := metrics.New(d.reading)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if size = w.Body.Len(); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
	b.ReportMetric(float64(size), "bytes/scrape")
}

// BenchmarkReading is the part of it for which the ledger does nothing else.
func BenchmarkReading(b *testing.B) {
	d := scraped(b, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.reading(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
