package cli

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// answers is a daemon of a few answers, by method and path; it notes what it was
// asked.
type answers struct {
	mu    sync.Mutex
	asked []string
	by    map[string]any
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := r.Method + " " + r.URL.RequestURI()
	a.asked = append(a.asked, key)
	v, ok := a.by[key]
	if p, bad := v.(*client.Problem); bad || !ok {
		if !bad {
			p = &client.Problem{Type: client.TypeUnknownRecord, Title: "there is no such record", Status: http.StatusNotFound}
		}
		w.Header().Set("Content-Type", client.MediaProblem)
		w.WriteHeader(p.Status)
		v = p
	}
	_ = json.NewEncoder(w).Encode(v) // who asked sees that it is cut
}

// An id that is not held is most likely another one: nothing is erased.
func TestEraseWhatIsHeld(t *testing.T) {
	t.Parallel()
	a := &answers{by: map[string]any{"GET /v1/streams/contacts/records/5": client.Record{ID: "5"}, "POST /v1/streams/contacts/erase": map[string]string{}}}
	s := httptest.NewServer(a)
	defer s.Close()
	for _, c := range []struct {
		args  string
		code  int
		says  string
		erase bool
	}{
		{"contacts 5", 0, "erased 5 of contacts", true}, // nobody can be asked
		{"contacts 5 --yes", 0, "erased 5 of contacts", true},
		{"contacts 6", 1, `nothing was erased: contacts holds no record "6"`, false},
		{"contacts 6 -y", 1, "--force erases an id that is not held", false},
		{"contacts 6 --force", 0, "erased 6 of contacts", true},
	} {
		a.asked = nil
		got := try(t, nil, append([]string{"erase", "--addr", s.URL}, strings.Fields(c.args)...)...)
		erased := strings.Contains(strings.Join(a.asked, " "), "POST")
		if got.code != c.code || !strings.Contains(got.errors, c.says) || erased != c.erase {
			t.Errorf("%s: exit %d, asked %q, said %s", c.args, got.code, a.asked, got.errors)
		}
	}
}

// Which interval holds after a start is said.
func TestStartSaysTheInterval(t *testing.T) {
	t.Parallel()
	a := &answers{by: map[string]any{"POST /v1/streams/contacts/start": client.Status{Name: "contacts", State: client.StateWaiting}}}
	s := httptest.NewServer(a)
	defer s.Close()
	for every, says := range map[string]string{"": "fetched as the configuration says; --every sets another", "90s": "fetched every 90s, over restarts too"} {
		args := []string{"start", "contacts", "--addr", s.URL}
		if every != "" {
			args = append(args, "--every", every)
		}
		if got := try(t, nil, args...); got.code != 0 || !strings.HasPrefix(got.errors, says) || strings.Contains(got.out, "fetched") {
			t.Errorf("exit %d\n%s%s", got.code, got.out, got.errors)
		}
	}
}

func TestRunsLimit(t *testing.T) {
	t.Parallel()
	a := &answers{by: map[string]any{"GET /v1/runs?limit=3": map[string]any{"runs": []client.Run{{ID: "r3", Kind: "backfill", State: client.RunDone}}}}}
	s := httptest.NewServer(a)
	defer s.Close()
	if got := try(t, nil, "runs", "--limit", "3", "--addr", s.URL); got.code != 0 || !strings.Contains(got.out, "r3") {
		t.Errorf("exit %d, asked %q\n%s%s", got.code, a.asked, got.out, got.errors)
	}
}

// An address with who signs it is one of https; what is wrong with a certificate
// is said with what to do.
func TestCertificateOfTheDaemon(t *testing.T) {
	t.Parallel()
	a := &answers{by: map[string]any{"GET /v1/streams": map[string]any{"streams": []client.Status{}}}}
	s := httptest.NewUnstartedServer(a)
	s.Config.ErrorLog = hclog.NewNullLogger().StandardLogger(nil) // who refuses its certificate is no news
	s.StartTLS()
	defer s.Close()
	plain := httptest.NewServer(a)
	defer plain.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	host, open := strings.TrimPrefix(s.URL, "https://"), strings.TrimPrefix(plain.URL, "http://")
	port := host[strings.LastIndex(host, ":"):]
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--addr " + host + " --ca " + ca, 0, ""},
		{"--addr https://" + host + " --ca " + ca, 0, ""},
		{"--addr https://" + host, 4, "hint: name who signed it with --ca FILE"},
		{"--addr https://localhost" + port + " --ca " + ca, 4, "hint: --ca is not who signed it, or the address is not one of the certificate's names"},
		{"--addr " + open + " --ca " + ca, 4, "hint: that daemon speaks no TLS"},
	} {
		got := try(t, nil, append([]string{"status"}, strings.Fields(c.args)...)...)
		if got.code != c.code || !strings.Contains(got.errors, c.says) {
			t.Errorf("%s: exit %d\n%s", c.args, got.code, got.errors)
		}
	}
}

// A portal that was never asked has no tables of nothing.
func TestUsageOfAPortalThatWasNeverAsked(t *testing.T) {
	t.Parallel()
	a := &answers{by: map[string]any{"GET /v1/portals": map[string]any{"portals": []client.Portal{{Name: "main", Day: "2026-11-25", DayEnds: time.Now()}}}}}
	s := httptest.NewServer(a)
	defer s.Close()
	got := try(t, nil, "usage", "--addr", s.URL)
	if !strings.Contains(got.out, "not asked yet") || !strings.HasSuffix(got.out, "\n\nnothing was asked of HubSpot today\n") || strings.Contains(got.out, "SHARE") || strings.Contains(got.out, "WORK") {
		t.Errorf("%s", got.out)
	}
	a.by["GET /v1/portals"] = map[string]any{"portals": []client.Portal{{Name: "main", Account: 7, UsedByStream: map[string]map[string]uint64{"contacts": {"backfill": 3}}}}}
	if got := try(t, nil, "usage", "--addr", s.URL); !strings.Contains(got.out, "backfill") || strings.Contains(got.out, "nothing was asked") {
		t.Errorf("%s", got.out)
	}
}

func TestTokenAsJSON(t *testing.T) {
	t.Parallel()
	path := configFile(t, fmt.Sprintf("data_dir = %q\n", t.TempDir()))
	plain := try(t, nil, "token", "create", "--config", path, "--role", "reader", "--name", "a")
	got := try(t, nil, "token", "create", "--config", path, "--role", "reader", "--name", "b", "-o", "json")
	var said struct{ Name, Role, Token string }
	if err := json.Unmarshal([]byte(got.out), &said); err != nil || said.Name != "b" || said.Role != "reader" || len(said.Token) != len(strings.TrimSpace(plain.out)) {
		t.Errorf("%v: %s", err, got.out)
	}
}

// What HubSpot did not say is not nothing.
func TestEstimateOfWhatIsUnknown(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	err := estimateTable(&b, []portalCost{{Portal: "main", portalLimits: &portalLimits{Account: 7}, Streams: []streamCost{
		{Stream: "contacts", streamSize: &streamSize{Records: 12, FirstLoad: 3}}, {Stream: "deals", Error: "missing scope"}}}}, true)
	if err != nil || !strings.Contains(b.String(), "deals     ?        ?                 ?           ?           missing scope") ||
		!strings.Contains(b.String(), "the work above is without deals") || !strings.Contains(b.String(), "contacts  12") {
		t.Errorf("%v\n%s", err, b.String())
	}
}
