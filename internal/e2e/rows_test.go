package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// rowOf is a row of a stream outside the CRM's contract.
type rowOf struct {
	ID         string         `json:"id"`
	State      string         `json:"state"`
	Properties map[string]any `json:"properties"`
}

// rowsOf are rows as they are compared: what is archived or purged by its state
// alone, ids that have a hash in them by their parent.
func rowsOf(o catalogue.Object, text string) ([]string, error) {
	var out []string
	for line := range strings.Lines(text) {
		var r rowOf
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("%w: %.200s", err, line)
		}
		if r.State == "purged" || o.Endpoint.Partial && r.Properties["state"] == "DRAFT" {
			continue
		}
		if o.Endpoint.KeyHash || slices.Contains(o.Endpoint.Key, o.Endpoint.Time) {
			if r.ID, _, _ = strings.Cut(r.ID, "/"); o.Endpoint.Parent.Kind == catalogue.ParentNone {
				r.ID = ""
			}
		}
		content := ""
		if o.Name != "schemas" && o.Name != "properties" { // whose truth has names alone
			maps.DeleteFunc(r.Properties, func(name string, v any) bool {
				return v == nil || slices.Contains([]string{"key", "additionalProperties", "archived", "deletedAt", "userId"}, name)
			})
			b, err := json.Marshal(r.Properties)
			if err != nil {
				return nil, err
			}
			content = string(b)
		}
		out = append(out, r.ID+" "+r.State+" "+content)
	}
	slices.Sort(out)
	return out, nil
}

// rowsEqual holds a stream against the truth.
func (s *system) rowsEqual(o catalogue.Object) error {
	stored, err := s.hubpipe("records", o.Name, "--state", "all")
	if err != nil {
		return err
	}
	code, truth := fetch(s.t, http.MethodGet, s.sim+"/_simulator/truth/"+o.Name, "", "")
	if code != http.StatusOK {
		return fmt.Errorf("no truth of %s: %d", o.Name, code)
	}
	got, err := rowsOf(o, stored)
	if err != nil {
		return err
	}
	if o.Strategy == catalogue.StrategyLog {
		truth = s.withoutBlogs(truth)
	}
	want, err := rowsOf(o, truth)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(got, want) {
		return nil
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Errorf("%s: %d rows of %d; the first that differs is %d:\n%.400s\n%.400s", o.Name, len(got), len(want), i,
				strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""))
		}
	}
	return errors.New("they differ")
}

// withoutBlogs leaves out the submissions that HubSpot does not hand out.
func (s *system) withoutBlogs(truth string) string {
	_, forms := fetch(s.t, http.MethodGet, s.sim+"/_simulator/truth/forms", "", "")
	blogs := map[string]bool{}
	for line := range strings.Lines(forms) {
		r := decode[rowOf](s.t, line)
		blogs[r.ID] = r.Properties["formType"] == "blog_comment"
	}
	var kept strings.Builder
	for line := range strings.Lines(truth) {
		if form, _, _ := strings.Cut(decode[rowOf](s.t, line).ID, "/"); !blogs[form] {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// fragment writes a file beside the configuration.
func (s *system) fragment(name, text string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "conf.d")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".hcl"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// syncs makes one run of a stream.
func (s *system) syncs(stream string) {
	s.t.Helper()
	if out, err := s.hubpipe("sync", stream, "--wait"); err != nil {
		s.t.Errorf("sync %s: %v %s", stream, err, out)
	}
}

// liveRows are the ids of a stream's live rows in the truth, in order.
func (s *system) liveRows(object string) []string {
	s.t.Helper()
	_, text := fetch(s.t, http.MethodGet, s.sim+"/_simulator/truth/"+object, "", "")
	var ids []string
	for line := range strings.Lines(text) {
		if r := decode[rowOf](s.t, line); r.State == "live" {
			ids = append(ids, r.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// Every stream outside the CRM's contract, in one daemon, under faults: equal to
// the truth at first, quiet while nothing changes, and equal after changes.
func TestEveryStream(t *testing.T) {
	t.Parallel()
	var all []catalogue.Object
	var blocks strings.Builder
	blocks.WriteString("stream \"contacts\" { associations = [\"companies\"] }\n")
	for _, o := range catalogue.All() {
		if o.Ready && o.Strategy != catalogue.StrategyObjects {
			more := ""
			if o.Endpoint.Parent.Kind == catalogue.ParentPairRecords {
				more = "\n  associations = [\"contacts/companies\", \"companies/contacts\"]\n"
			}
			fmt.Fprintf(&blocks, "stream %q {\n  interval = \"1h\"%s}\n", o.Name, cmp.Or(more, "\n"))
			if o.Name != "account" && o.Name != "api_usage" { // which tell of the reader
				all = append(all, o)
			}
		}
	}
	s := newSystem(t, "--contacts", "120", "--deals", "40", "--limits=false", "--fault-rate", "0.02", "--associations", "contacts-companies=1")
	s.configure(settings{streams: []string{"companies", "deals", "tickets"}})
	s.fragment("rows", blocks.String())
	s.daemon()
	s.worker()
	for _, o := range all {
		until(t, o.Name, func() error { return s.rowsEqual(o) })
	}
	// A run more of each changes nothing.
	before := map[string]string{}
	for _, o := range all {
		before[o.Name] = s.get("/v1/streams/" + o.Name + "/changes?since=0&limit=100000")
	}
	for _, o := range all {
		s.syncs(o.Name)
		if after := s.get("/v1/streams/" + o.Name + "/changes?since=0&limit=100000"); after != before[o.Name] {
			t.Errorf("%s: the feed has moved", o.Name)
		}
	}
	// Without submissions yet: those of a form stay when it is archived.
	forms := s.change("forms", `{"create":3,"change":4}`)
	s.change("forms", fmt.Sprintf(`{"archive":%s}`, list(t, forms[:2])))
	for _, name := range []string{"owners", "lists", "pipelines", "list_memberships", "workflows", "email_campaigns", "conversation_threads"} {
		s.change(name, `{"create":3,"change":4}`)
	}
	past := time.Now().Add(-10 * time.Second).UnixMilli()
	for _, name := range []string{"email_events", "subscription_changes", "events", "form_submissions"} {
		s.change(name, fmt.Sprintf(`{"create":7,"at":%d}`, past))
	}
	owners := s.liveRows("owners")
	s.change("owners", fmt.Sprintf(`{"archive":%s,"delete":%s}`, list(t, owners[:5]), list(t, owners[5:9])))
	s.change("lists", fmt.Sprintf(`{"archive":%s}`, list(t, s.liveRows("lists")[:2])))
	for _, o := range all {
		s.syncs(o.Name)
		if err := s.rowsEqual(o); err != nil {
			t.Errorf("after changes: %v", err)
		}
	}
	if st := s.status("owners"); st.State == client.StateBlocked || st.Error != nil || st.Tombstones != 9 {
		t.Errorf("%+v", st)
	}
}

// A stream whose scope the token lacks is blocked and names it; others go on,
// and it goes on when it is told that the token has it.
func TestAScopeIsMissing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "20", "--limits=false")
	s.configure(settings{streams: []string{"contacts", "owners", "campaigns"}})
	faults := func(body string) {
		if code, text := fetch(t, http.MethodPost, s.sim+"/_simulator/faults", body, ""); code != http.StatusOK {
			t.Fatalf("%d %s", code, text)
		}
	}
	faults(`{"scopes_missing":{"campaigns":["marketing.campaigns.read"]}}`)
	s.daemon()
	s.worker()
	owners, _ := catalogue.Lookup("owners")
	campaigns, _ := catalogue.Lookup("campaigns")
	s.becomesEqual("contacts")
	until(t, "owners", func() error { return s.rowsEqual(owners) })
	until(t, "a word about the scope", func() error {
		st := s.status("campaigns")
		if st.State != client.StateBlocked || st.Error == nil || !strings.Contains(st.Error.Detail, "marketing.campaigns.read") || st.Error.Hint == "" {
			return errors.New(s.get("/v1/streams/campaigns"))
		}
		return nil
	})
	s.change("owners", `{"create":3}`)
	until(t, "owners go on", func() error { return s.rowsEqual(owners) })
	faults(`{"scopes_missing":{}}`)
	if out, err := s.hubpipe("start", "campaigns"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	until(t, "campaigns", func() error { return s.rowsEqual(campaigns) })
	if st := s.status("campaigns"); st.Error != nil || st.State == client.StateBlocked {
		t.Errorf("%+v", st)
	}
}
