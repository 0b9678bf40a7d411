package simulator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// The journal is strict: about the app, the scope, the token's end, places, how
// long it keeps them, and addresses of files.
func TestJournalIsStrict(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	s := New(Options{Token: "portal", PortalID: 4711, Sizes: map[string]int{"contacts": 5}, Now: func() time.Time { return now },
		Journal: &Journal{ClientID: "app", ClientSecret: "secret"}})
	send := func(method, path, token, form string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form))
		if form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	token := func(form url.Values) (string, int) {
		t.Helper()
		w := send(http.MethodPost, "/oauth/2026-09/token", "", form.Encode())
		var said struct {
			Access string `json:"access_token"`
		}
		_ = json.Unmarshal(w.Body.Bytes(), &said)
		return said.Access, w.Code
	}
	form := func(id, secret, grant, scope string) url.Values {
		return url.Values{"client_id": {id}, "client_secret": {secret}, "grant_type": {grant}, "scope": {scope}}
	}
	const grant = "client_credentials"
	for _, f := range []url.Values{form("app", "wrong", grant, journalScope), form("other", "secret", grant, journalScope),
		form("app", "secret", "refresh_token", journalScope), form("app", "secret", grant, "")} {
		if _, code := token(f); code != 400 {
			t.Errorf("%v: %d", f, code)
		}
	}
	good, _ := token(form("app", "secret", grant, journalScope))
	poor, _ := token(form("app", "secret", grant, "crm.objects.contacts.read"))
	const base = "/webhooks-journal/journal/2026-03"
	get := func(path string) (int, string, string) {
		t.Helper()
		w := send(http.MethodGet, base+path, good, "")
		var said struct {
			URL           string `json:"url"`
			CurrentOffset string `json:"currentOffset"`
		}
		_ = json.Unmarshal(w.Body.Bytes(), &said)
		return w.Code, said.CurrentOffset, said.URL
	}
	if code, _, _ := get("/latest"); code != http.StatusNoContent {
		t.Errorf("an empty journal: %d", code)
	}
	if _, err := s.Change("contacts", Change{Create: 2}); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := get("/latest"); code != http.StatusNoContent {
		t.Errorf("it is published at once: %d", code)
	}
	now = now.Add(2 * time.Second)
	code, first, address := get("/earliest")
	if code != 200 || first == "" {
		t.Fatalf("%d %s", code, first)
	}
	for path, want := range map[string]int{"/latest": 200, "/offset/" + first + "/next": 204, "/offset/nope/next": 404, "/offset/" + first: 401, "/other": 401, // addresses of nobody: the portal's token comes first

		"/latest?installPortalId=4711": 200, "/latest?installPortalId=1": 403} {
		if code, _, _ := get(path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	for name, c := range map[string]struct {
		method, token string
		want          int
	}{"no token": {"GET", "", 401}, "the portal's": {"GET", "portal", 401}, "without the scope": {"GET", poor, 403}, "posted": {"POST", good, 405}} {
		if w := send(c.method, base+"/latest", c.token, ""); w.Code != c.want {
			t.Errorf("%s: %d, want %d", name, w.Code, c.want)
		}
	}
	if w := send(http.MethodGet, "/crm/objects/2026-09/contacts?limit=1", good, ""); w.Code != 401 {
		t.Errorf("the journal's token reads contacts: %d", w.Code)
	}
	file := strings.TrimPrefix(address, "http://example.com")
	var said struct {
		Offset string            `json:"offset"`
		Events []json.RawMessage `json:"journalEvents"`
	}
	if w := send(http.MethodGet, file, "", ""); w.Code != 200 || json.Unmarshal(w.Body.Bytes(), &said) != nil || len(said.Events) != 2 || said.Offset != first {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for name, c := range map[string]struct {
		path, token string
		want        int
	}{"with a token": {file, good, 400}, "another signature": {file + "0", "", 403}, "none": {filePath + first, "", 403}} {
		if w := send(http.MethodGet, c.path, c.token, ""); w.Code != c.want {
			t.Errorf("a file, %s: %d, want %d", name, w.Code, c.want)
		}
	}
	now = now.Add(fileValid + time.Second)
	if w := send(http.MethodGet, file, "", ""); w.Code != 403 {
		t.Errorf("a file whose address has ended: %d", w.Code)
	}
	now = now.Add(time.Hour)
	if code, _, _ := get("/latest"); code != 401 {
		t.Errorf("a token that has ended: %d", code)
	}
	now = now.Add(journalKept)
	good, _ = token(form("app", "secret", grant, journalScope))
	if code, _, _ := get("/offset/" + first + "/next"); code != 404 {
		t.Errorf("a place of four days ago: %d", code)
	}
	if n := s.Stats(); n.Requests["journal"] == 0 || n.Refused != (Refused{}) {
		t.Errorf("%+v", n)
	}
}
