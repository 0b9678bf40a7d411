package notify

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func message() *Message {
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	until := at.Add(90 * time.Minute)
	return &Message{Target: "ops",
		Began: []Event{{Condition: Condition{Blocked, "contacts", "the token is refused", "401", "make a new one"}, Since: at}},
		Ended: []Event{{Condition: Condition{Stale, "deals", "its lag", "", ""}, Since: at, Until: &until}}}
}

func TestText(t *testing.T) {
	t.Parallel()
	const want = "hubpipe: contacts is blocked since 2026-02-03T04:05:06Z: the token is refused (401)\n" +
		"  what to do: make a new one\n" +
		"hubpipe: deals is not stale any more, after 1h30m0s"
	if got := message().Text(); got != want {
		t.Errorf("%s", got)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	code, got := http.StatusOK, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.Header.Get("Content-Type") + " " + string(b)
		if !r.Close {
			t.Error("the connection stays open, with nobody to close it")
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		_, _ = w.Write([]byte("no_service: Cannot POST " + r.RequestURI))
	}))
	defer s.Close()
	target := Target{Webhook: s.URL + "/services/secret-path?key=secret-value%20x"}
	if err := target.Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, `POST application/json {"text":"hubpipe: contacts is blocked`) {
		t.Errorf("%s", got)
	}
	target.Plain = true
	if err := target.Send(t.Context(), message()); err != nil || !strings.Contains(got, `{"target":"ops","began":[{"kind":"blocked","subject":"contacts"`) {
		t.Errorf("%v %s", err, got)
	}
	for _, code = range []int{http.StatusFound, http.StatusForbidden, http.StatusInternalServerError} {
		if err := target.Send(t.Context(), message()); err == nil || strings.Contains(err.Error(), "secret-") || !strings.Contains(err.Error(), "no_service") {
			t.Errorf("%d: %v", code, err)
		}
	}
	s.Close()
	if err := target.Send(t.Context(), message()); err == nil || strings.Contains(err.Error(), "secret-") {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestExec(t *testing.T) {
	t.Setenv("HUBSPOT_TOKEN", "canary-token")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	target := Target{Exec: []string{"sh", "-c", `cat > "$1"; env >> "$1"`, "sh", out}}
	if err := target.Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	line, env, _ := strings.Cut(string(b), "\n")
	var m Message
	if err := json.Unmarshal([]byte(line), &m); err != nil || len(m.Began) != 1 || m.Began[0].Hint != "make a new one" {
		t.Errorf("%v: %s", err, line)
	}
	if strings.Contains(env, "canary") || !strings.Contains(env, "PATH=") {
		t.Errorf("it was given\n%s", env)
	}
	target.Exec = []string{"sh", "-c", "echo it is closed >&2; exit 3"}
	if err := target.Send(t.Context(), message()); err == nil || !strings.Contains(err.Error(), "it is closed") {
		t.Errorf("%v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	target.Exec = []string{"sh", "-c", "head -c 50000000 /dev/zero; exit 3"}
	if err := target.Send(t.Context(), message()); err == nil || len(err.Error()) > 2000 {
		t.Errorf("%.3000v", err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 10<<20 {
		t.Errorf("what a program says took %d MiB", (after.TotalAlloc-before.TotalAlloc)>>20)
	}
	target.Exec = []string{filepath.Join(dir, "missing")}
	if err := target.Send(t.Context(), message()); err == nil {
		t.Error("there is no such program")
	}
}
