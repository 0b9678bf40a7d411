package api_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Who may change things takes profiles and changes the log's level; a stranger
// and a reader do not see the inside, however they write the path.
func TestInside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := []string{"Authorization", "Bearer " + token}
	for path, says := range map[string]string{
		"/debug/pprof": `"goroutine"`, "/debug/pprof/goroutine?debug=1": "goroutine profile: total", "/debug/pprof/heap": "\x1f\x8b",
		"/debug/pprof/profile?seconds=1": "\x1f\x8b", "/v1/log": `"configured":"warn"`,
	} {
		res := do(t, b, "GET", path, "", owner...)
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), says) {
			t.Errorf("%s: %s %v %.80q", path, res.Status, err, body)
		}
	}
	for _, path := range []string{"/debug/pprof/secrets", "/debug/pprof/cmdline", "/debug/vars"} {
		if p := problem(t, do(t, b, "GET", path, "", owner...)); p.Status != http.StatusNotFound {
			t.Errorf("%s: %+v", path, p)
		}
	}
	for _, seconds := range []string{"0", "-1", "301", "x"} {
		if p := problem(t, do(t, b, "GET", "/debug/pprof/profile?seconds="+seconds, "", owner...)); p.Status != http.StatusBadRequest {
			t.Errorf("seconds=%s: %+v", seconds, p)
		}
	}
	for _, path := range []string{"/debug/pprof/heap", "/debug/%70prof/heap", "/%64ebug/pprof/heap"} {
		for _, auth := range []string{"Bearer readers", "Bearer workers", "Bearer no", ""} {
			res := do(t, b, "GET", path, "", "Authorization", auth)
			if res.StatusCode != http.StatusForbidden && res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s by %q: %s", path, auth, res.Status)
			}
		}
	}
	if p := problem(t, do(t, b, "PUT", "/v1/log", `{"level":"loud"}`, owner...)); p.Type != client.TypeBadBody || !strings.Contains(p.Hint, "debug") {
		t.Errorf("%+v", p)
	}
	if res := do(t, b, "PUT", "/v1/log", `{"level":"Debug"}`, owner...); res.StatusCode != http.StatusOK || !slices.Contains(b.d.called(), "log debug") {
		t.Errorf("%s %q", res.Status, b.d.called())
	}
}
