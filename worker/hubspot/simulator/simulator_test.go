package simulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that only moves when told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// portal is a simulator behind a real server.
type portal struct {
	*Simulator
	t     testing.TB
	clock *clock
	srv   *httptest.Server
	http  *http.Client
}

func newPortal(t testing.TB, o Options) *portal {
	t.Helper()
	p := &portal{t: t, clock: newClock()}
	if o.Now == nil {
		o.Now = p.clock.now
	}
	if o.Sizes == nil {
		o.Sizes = map[string]int{"contacts": 250, "deals": 30}
	}
	if o.Token == "" {
		o.Token = "secret"
	}
	p.Simulator = New(o)
	p.srv = httptest.NewServer(p.Simulator)
	p.http = p.srv.Client()
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		p.srv.Close()
	})
	return p
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (p *portal) try(method, path string, body any, header ...string) (answer, error) {
	p.t.Helper()
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		rd = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			p.t.Fatal(err)
		}
		rd = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.srv.URL+path, rd)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

func (p *portal) do(method, path string, body any, header ...string) answer {
	p.t.Helper()
	a, err := p.try(method, path, body, header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

type row struct {
	ID         string             `json:"id"`
	Properties map[string]*string `json:"properties"`
	CreatedAt  time.Time          `json:"createdAt"`
	UpdatedAt  time.Time          `json:"updatedAt"`
	Archived   *bool              `json:"archived"`
	ArchivedAt time.Time          `json:"archivedAt"`
}

type page struct {
	Status  string `json:"status"`
	Total   int    `json:"total"`
	Results []row  `json:"results"`
	Paging  struct {
		Next struct {
			After string `json:"after"`
			Link  string `json:"link"`
		} `json:"next"`
	} `json:"paging"`
	Errors []struct {
		Category string              `json:"category"`
		Message  string              `json:"message"`
		Context  map[string][]string `json:"context"`
	} `json:"errors"`
	Message    string `json:"message"`
	Category   string `json:"category"`
	PolicyName string `json:"policyName"`
}

func (a answer) page(t testing.TB) page {
	t.Helper()
	var p page
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("status %d, body %.200q: %v", a.status, a.body, err)
	}
	return p
}

// ok is the page of an answer that has to have this status.
func (p *portal) ok(status int, method, path string, body any, header ...string) page {
	p.t.Helper()
	a := p.do(method, path, body, header...)
	if a.status != status {
		p.t.Fatalf("%s %.80s: status %d, want %d: %.300s", method, path, a.status, status, a.body)
	}
	return a.page(p.t)
}

const (
	contactsPath = "/crm/objects/2026-09/contacts"
	searchPath   = contactsPath + "/search"
	batchPath    = contactsPath + "/batch/read"
)

// walk lists everything, page by page.
func (p *portal) walk(path, query string) []row {
	p.t.Helper()
	var out []row
	for after := ""; ; {
		q := path + "?limit=100" + query
		if after != "" {
			q += "&after=" + after
		}
		pg := p.ok(200, "GET", q, nil)
		out = append(out, pg.Results...)
		if after = pg.Paging.Next.After; after == "" {
			return out
		}
	}
}

// all names all properties of contacts.
func (p *portal) all() string {
	var names []string
	for _, pr := range p.stores["contacts"].sc.props {
		names = append(names, pr.name)
	}
	return strings.Join(names, ",")
}

// one is a single record.
func (p *portal) one(path string) row {
	p.t.Helper()
	a := p.do("GET", path, nil)
	var r row
	if err := json.Unmarshal(a.body, &r); err != nil || a.status != 200 {
		p.t.Fatalf("%s: status %d, %.200s", path, a.status, a.body)
	}
	return r
}
