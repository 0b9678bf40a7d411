package worker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// absentRows notes what a whole reading lacks; askForAbsent asks for it when
// the range has ended, as the daemon does.
func (l *ledger) absentRows(p *protocol.Page) {
	listed := map[string]bool{}
	for _, h := range p.Listing {
		listed[h.ID] = true
	}
	for id := range l.records {
		excepted := slices.ContainsFunc(p.Except, func(prefix string) bool { return strings.HasPrefix(id, prefix) })
		passed := (p.From == "" || protocol.CompareIDs(id, p.From) > 0) && (p.Last || protocol.CompareIDs(id, p.To) <= 0)
		if passed && !excepted && !listed[id] {
			l.absent = append(l.absent, id)
		}
	}
	if !slices.IsSortedFunc(p.Listing, func(a, b protocol.Listed) int { return protocol.CompareIDs(a.ID, b.ID) }) {
		l.t.Error("a listing is not in the order of ids")
	}
}

func (l *ledger) askForAbsent() []protocol.Range {
	if len(l.absent) > 0 {
		g := protocol.Range{ID: l.next, Kind: "ids", Ask: true, Last: true}
		l.next++
		for _, id := range l.absent {
			g.Want = append(g.Want, protocol.Listed{ID: id})
		}
		l.ranges[g.ID], l.absent = &lrange{Range: g}, nil
	}
	return l.wire()
}

// rowRig is a simulator, and a ledger with a worker that reads one of its
// streams.
type rowRig struct {
	*ledger
	row catalogue.Object
	sim *simulator.Simulator
}

func newRowRig(t *testing.T, row catalogue.Object, o simulator.Options, wrap func(http.Handler) http.Handler) *rowRig {
	t.Helper()
	o.Token, o.Seed = "t", 3
	if o.Sizes == nil {
		o.Sizes = map[string]int{"contacts": 130, "companies": 20, "deals": 10, "tickets": 5, "p_cars": 3}
		o.Associations = map[string]float64{"contacts-companies": 1}
	}
	r := &rowRig{ledger: newLedger(t), row: row, sim: simulator.New(o)}
	h := http.Handler(r.sim)
	if wrap != nil {
		h = wrap(h)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	client := hubspot.New(hubspot.Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true,
		Rand: func() float64 { return 0 }})
	t.Cleanup(client.Close)
	r.start(newHub(0), func(o *Options) {
		o.Portals = map[string]Portal{"main": HubSpot(client)}
		o.Lease = 20 * time.Second
	})
	return r
}

// read makes a run of a kind and returns what changed by it.
func (r *rowRig) read(kind string) (stored int, problem *protocol.Problem) {
	r.t.Helper()
	r.mu.Lock()
	before, notes := r.stored, r.notes
	r.problem = nil
	r.mu.Unlock()
	f := protocol.Fetch{Kind: kind, Object: r.row.Name, Notes: notes}
	switch r.row.Endpoint.Parent.Kind {
	case catalogue.ParentObjectTypes:
		f.Parents = []string{"contacts", "companies", "deals", "tickets", "p_cars"}
	case catalogue.ParentPairs, catalogue.ParentPairRecords:
		f.Parents = []string{"contacts/companies", "companies/contacts"}
	}
	r.run(f, rowRange(r.row))
	r.done()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stored - before, r.problem
}

func rowRange(row catalogue.Object) protocol.Range {
	switch row.Strategy {
	case catalogue.StrategyWindowed:
		return protocol.Range{Kind: eventsRange, Newest: true, Lo: time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()}
	case catalogue.StrategyLog:
		return protocol.Range{Kind: logRange}
	}
	return protocol.Range{Kind: wholeRange}
}

// must reads, and says how much changed.
func (r *rowRig) must(kind string) int {
	r.t.Helper()
	n, problem := r.read(kind)
	if problem != nil {
		r.t.Fatalf("%s: %+v", kind, problem)
	}
	return n
}

// truth is what HubSpot has of the stream: id and content, or where ids have a
// hash of the content in them, parent and content.
func (r *rowRig) truth() []string {
	var out []string
	blogs := map[string]bool{} // forms whose submissions HubSpot does not hand out
	for _, o := range r.sim.TruthSet("forms") {
		blogs[o.ID] = o.Properties["formType"] == "blog_comment"
	}
	for _, o := range r.sim.TruthSet(r.row.Name) {
		if form, _, _ := strings.Cut(o.ID, "/"); r.row.Strategy == catalogue.StrategyLog && blogs[form] {
			continue
		}
		if o.State != "live" && o.State != "archived" || r.row.Endpoint.Partial && o.Properties["state"] == "DRAFT" {
			continue
		}
		out = append(out, r.line(o.ID, o.State, o.Properties))
	}
	slices.Sort(out)
	return out
}

// line is a row as it is compared.
func (r *rowRig) line(id, state string, properties map[string]any) string {
	if e := r.row.Endpoint; e.KeyHash || slices.Contains(e.Key, e.Time) {
		id, _, _ = strings.Cut(id, "/")
		if e.Parent.Kind == catalogue.ParentNone {
			id = ""
		}
	}
	b, _ := json.Marshal(properties)
	var kept map[string]any
	if err := json.Unmarshal(b, &kept); err != nil {
		r.t.Fatal(err)
	}
	maps.DeleteFunc(kept, func(name string, v any) bool {
		// What the simulator keeps for itself, works out anew, or hides.
		return v == nil || slices.Contains([]string{"key", "additionalProperties", "archived", "deletedAt", "userId"}, name)
	})
	b, _ = json.Marshal(kept)
	return id + " " + state + " " + string(b)
}

func (r *rowRig) have() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, rec := range r.records {
		var properties map[string]any
		if err := json.Unmarshal(rec.Properties, &properties); err != nil {
			r.t.Fatalf("%s: %v", rec.ID, err)
		}
		out = append(out, r.line(rec.ID, rec.State, properties))
	}
	slices.Sort(out)
	return out
}

func (r *rowRig) equal(after string) {
	r.t.Helper()
	want, got := r.truth(), r.have()
	switch r.row.Name {
	case "account", "api_usage":
		return // they tell of the reader itself
	case "schemas", "properties": // whose truth names what is looked at
		want, got = names(want), names(got)
	}
	if d := cmp.Diff(want, got); d != "" {
		r.t.Fatalf("%s, %s, %d of %d (-truth +read):\n%.1500s", r.row.Name, after, len(got), len(want), d)
	}
}

func names(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i], _, _ = strings.Cut(l, " {")
	}
	return out
}

func (r *rowRig) change(name string, c simulator.SetChange) []string {
	r.t.Helper()
	ids, err := r.sim.ChangeSet(name, c)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

func readyRows() (out []catalogue.Object) {
	for _, row := range catalogue.All() {
		if row.Ready && row.Strategy != catalogue.StrategyObjects {
			out = append(out, row)
		}
	}
	return out
}

// TestRows reads each stream outside the CRM's contract, by its row alone: what
// is read is the truth, what has not changed changes nothing, and changes,
// deletions and archiving arrive.
func TestRows(t *testing.T) {
	t.Parallel()
	for _, row := range readyRows() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			r := newRowRig(t, row, simulator.Options{}, nil)
			r.must("backfill")
			r.equal("at first")
			if n := len(r.records); n == 0 {
				t.Fatal("nothing was read")
			}
			if n := r.must("incremental"); n != 0 && row.Name != "api_usage" {
				t.Errorf("%d changes where nothing changed", n)
			}
			r.lives()
		})
	}
}

// TestRowsOfOlderVersions reads a portal that serves no version with a date.
func TestRowsOfOlderVersions(t *testing.T) {
	t.Parallel()
	for _, row := range readyRows() {
		if len(row.Endpoint.Addresses) == 1 {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			r := newRowRig(t, row, simulator.Options{Versions: []string{"v3", "v4"}}, nil)
			r.must("backfill")
			r.equal("in an older version")
		})
	}
}

// lives changes, makes, deletes and archives rows where the simulator can.
func (r *rowRig) lives() {
	r.t.Helper()
	truth := r.sim.TruthSet(r.row.Name)
	if r.row.Name == "subscription_statuses" || r.row.Name == "api_usage" {
		return // they follow from other data
	}
	if len(truth) == 1 && r.row.Name != "schemas" {
		r.change(r.row.Name, simulator.SetChange{Change: 1})
		r.must("incremental")
		r.equal("after a change")
		return
	}
	first := simulator.SetChange{Create: 9}
	if r.row.Strategy == catalogue.StrategyWindowed { // which end a little before now
		first.At = time.Now().Add(-time.Minute).UnixMilli()
	}
	made, err := r.sim.ChangeSet(r.row.Name, first)
	if err != nil {
		return // it follows from other data
	}
	events := r.row.Endpoint.End == catalogue.EndNever
	if !events {
		c := simulator.SetChange{Change: min(2, len(truth)/2), Delete: []string{truth[0].ID}}
		if r.row.Endpoint.End == catalogue.EndArchivedPass || r.row.Endpoint.End == catalogue.EndField {
			c.Archive = []string{truth[1].ID}
		}
		made = append(made, r.change(r.row.Name, c)...)
	}
	if r.row.Endpoint.Parent.Stream == "conversation_threads" {
		for _, id := range made { // as HubSpot's would
			thread, _, _ := strings.Cut(id, "/")
			r.change("conversation_threads", simulator.SetChange{IDs: []string{thread}})
		}
	}
	if n := r.must("incremental"); n == 0 {
		r.t.Errorf("none of %v shows", made)
	}
	r.equal("after changes")
	if n := r.must("incremental"); n != 0 {
		r.t.Errorf("%d changes where nothing changed since", n)
	}
	if c := (simulator.SetChange{Restore: []string{truth[1].ID}}); r.row.Endpoint.End == catalogue.EndArchivedPass {
		r.change(r.row.Name, c)
		r.must("incremental")
		r.equal("after a row was restored")
	}
}

// TestLogs reads of a log no more than is new, and asks one that stays empty
// less and less often.
func TestLogs(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("form_submissions")
	asked := map[string]int{}
	var mu sync.Mutex
	r := newRowRig(t, row, simulator.Options{}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if _, form, ok := strings.Cut(req.URL.Path, "/submissions/forms/"); ok {
				mu.Lock()
				asked[form]++
				mu.Unlock()
			}
			h.ServeHTTP(w, req)
		})
	})
	count := func(form string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		n = asked[form]
		asked[form] = 0
		return n
	}
	r.must("backfill")
	full, blog := "", ""
	for _, o := range r.sim.TruthSet("forms") {
		if o.Properties["formType"] == "blog_comment" {
			blog = o.ID
		} else {
			full = o.ID
		}
	}
	empty := r.change("forms", simulator.SetChange{Create: 1})[0]
	count(full)
	r.must("incremental")
	if n := count(full); n != 1 {
		t.Errorf("a form without anything new takes %d requests", n)
	}
	count(blog)
	for range 3 {
		r.must("incremental")
	}
	if n, m := count(empty), count(blog); n > 2 || m > 2 {
		t.Errorf("an empty form was asked %d times, one that is refused %d times", n, m)
	}
	r.change("form_submissions", simulator.SetChange{Create: 120, Parent: full})
	if n := r.must("incremental"); n != 120 {
		t.Errorf("%d of 120 new submissions", n)
	}
	r.equal("after new submissions")
	if n := count(full); n > 7 {
		t.Errorf("%d requests for 120 new submissions", n)
	}
}

// TestManyEvents reads events in windows that a reading can go on behind.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("events")
	r := newRowRig(t, row, simulator.Options{}, nil)
	day := time.Now().Add(-30 * 24 * time.Hour)
	for i := range 40 {
		r.change("events", simulator.SetChange{Create: 100, At: day.Add(time.Duration(i) * time.Hour).UnixMilli()})
	}
	r.must("backfill")
	r.equal("after many")
	r.change("events", simulator.SetChange{Create: 30, At: time.Now().Add(-10 * time.Second).UnixMilli()})
	r.must("incremental")
	r.equal("after some")
}

// TestEventsOfAnObjectThatIsRefused hold nobody else up; when HubSpot hands them
// out, those that happened meanwhile are read, too, and those of an object that is
// new to the stream, and of all but contacts after an upgrade.
func TestEventsOfAnObjectThatIsRefused(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("events")
	var refuses atomic.Value
	refuses.Store("")
	r := newRowRig(t, row, simulator.Options{}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if of := refuses.Load(); of == "all" || of != "" && req.URL.Query().Get("objectType") == of {
				w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
				http.Error(w, `{"status":"error","message":"not these"}`, http.StatusBadRequest)
				return
			}
			h.ServeHTTP(w, req)
		})
	})
	some := func() {
		t.Helper()
		r.change("events", simulator.SetChange{Create: 60, At: time.Now().Add(-10 * time.Second).UnixMilli()})
	}
	refuses.Store("deal")
	r.must("backfill")
	if r.open["deals/"] == "" || r.open["contacts/"] != "" {
		t.Errorf("refused: %v", r.open)
	}
	some()
	if n := r.must("incremental"); n != 50 {
		t.Errorf("%d of 50 new events of others", n)
	}
	refuses.Store("")
	r.must("incremental")
	r.equal("after nothing is refused any more")
	refuses.Store("all")
	if _, problem := r.read("incremental"); problem == nil || !strings.Contains(problem.Detail, "not these") {
		t.Errorf("all of it is refused: %+v", problem)
	}
	refuses.Store("")
	some()
	r.mu.Lock()
	r.notes = "" // as a version has left it that knew contacts alone
	for id, rec := range r.records {
		if !strings.Contains(string(rec.Properties), `"CONTACT"`) {
			delete(r.records, id)
		}
	}
	r.mu.Unlock()
	r.must("incremental")
	r.equal("after an upgrade")
}

// TestFaultsOfRows reads under faults: cut and garbled pages, errors, resets.
func TestFaultsOfRows(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"owners", "lists", "workflows", "list_memberships", "email_events", "form_submissions"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row, _ := catalogue.Lookup(name)
			r := newRowRig(t, row, simulator.Options{FaultRate: 0.15}, nil)
			r.must("backfill")
			r.equal("under faults")
		})
	}
}

// TestAParentThatFails ends no row, and holds up no other parent.
func TestAParentThatFails(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("conversation_messages")
	var failing atomic.Value
	failing.Store("none")
	r := newRowRig(t, row, simulator.Options{}, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.Path, fmt.Sprint("/threads/", failing.Load(), "/")) {
				w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
				http.Error(w, `{"status":"error","message":"not this one"}`, http.StatusBadRequest)
				return
			}
			h.ServeHTTP(w, req)
		})
	})
	r.must("backfill")
	threads := r.sim.TruthSet("conversation_threads")
	failing.Store(threads[3].ID)
	r.change("conversation_messages", simulator.SetChange{Create: 2, Parent: threads[5].ID, Delete: []string{r.sim.TruthSet(row.Name)[0].ID}})
	r.must("backfill")
	r.equal("with a parent that fails")
	// One that is gone takes its rows with it, whether it fails or not.
	r.change("conversation_threads", simulator.SetChange{Delete: []string{threads[3].ID}})
	r.must("backfill")
	r.equal("without the parent")
}

// TestACursorThatLeadsBack is an error, not a loop.
func TestACursorThatLeadsBack(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(asked string) string{
		"itself": func(string) string { return "x" },
		"a ring": func(asked string) string { return map[string]string{"": "x", "x": "y", "y": "x"}[asked] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row, _ := catalogue.Lookup("campaigns")
			r := newRowRig(t, row, simulator.Options{}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if !strings.Contains(req.URL.Path, "campaigns") {
						h.ServeHTTP(w, req)
						return
					}
					w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
					fmt.Fprintf(w, `{"results":[{"id":"1"}],"paging":{"next":{"after":%q}}}`, next(req.URL.Query().Get("after")))
				})
			})
			if _, problem := r.read("backfill"); problem == nil || !strings.Contains(problem.Detail, "never end") && !strings.Contains(problem.Detail, "leads back") {
				t.Errorf("%+v", problem)
			}
		})
	}
}

// TestWhatAPortalLacks blocks the stream with plain words.
func TestWhatAPortalLacks(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("campaigns")
	for name, c := range map[string]struct {
		status           int
		body, kind, says string
	}{
		"a scope":   {403, `{"category":"MISSING_SCOPES","errors":[{"context":{"requiredGranularScopes":["marketing.campaigns.read"]}}]}`, "scope", "marketing.campaigns.read"},
		"a feature": {404, `{"message":"resource not found"}`, "not-available", "no campaigns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRowRig(t, row, simulator.Options{}, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					if !strings.Contains(req.URL.Path, "campaigns") {
						h.ServeHTTP(w, req)
						return
					}
					w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
					http.Error(w, c.body, c.status)
				})
			})
			_, problem := r.read("backfill")
			if problem == nil || !problem.Blocked || problem.Type != c.kind || !strings.Contains(problem.Detail, c.says) || problem.Hint == "" {
				t.Errorf("%+v", problem)
			}
		})
	}
}

// A scope that is lacking for every log is the stream's, and said: to leave each
// as it is would look like a stream to which nothing comes.
func TestLogsThatLackAScope(t *testing.T) {
	t.Parallel()
	row, _ := catalogue.Lookup("form_submissions")
	r := newRowRig(t, row, simulator.Options{}, nil)
	switchOver := func(body string) {
		w := httptest.NewRecorder()
		r.sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_simulator/faults", strings.NewReader(body)))
		if w.Code != http.StatusOK {
			t.Fatal(w.Body)
		}
	}
	for _, kind := range []string{backfillRun, incrementalRun} {
		switchOver(`{"scopes_missing":{"form_submissions":["forms-uploaded-files"]}}`)
		if _, problem := r.read(kind); problem == nil || problem.Type != "scope" || !problem.Blocked || !strings.Contains(problem.Detail, "forms-uploaded-files") {
			t.Errorf("%s: %+v", kind, problem)
		}
		switchOver(`{"scopes_missing":{}}`)
		if r.must(backfillRun); !slices.Equal(r.truth(), r.have()) {
			t.Error("with the scope it is not the truth")
		}
	}
}
