package worker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Rows that lack what names them are left out, however a stream is read, and
// never without a word.
func TestRowsWithoutAName(t *testing.T) {
	t.Parallel()
	for stream, of := range map[string]struct{ path, member, name string }{
		"owners":           {"/crm/owners/", "results", "id"},
		"email_events":     {"/email/public/v1/events", "events", "id"},
		"form_submissions": {"/form-integrations/", "results", "submittedAt"},
	} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			row, _ := catalogue.Lookup(stream)
			r := newRowRig(t, row, simulator.Options{}, func(sim http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
					if !strings.HasPrefix(q.URL.Path, of.path) {
						sim.ServeHTTP(w, q)
						return
					}
					q.Header.Del("Accept-Encoding")
					rec := httptest.NewRecorder()
					sim.ServeHTTP(rec, q)
					var body map[string]any
					_ = json.Unmarshal(rec.Body.Bytes(), &body)
					if rows, _ := body[of.member].([]any); len(rows) > 1 {
						delete(rows[0].(map[string]any), of.name)
					}
					w.WriteHeader(rec.Code)
					_ = json.NewEncoder(w).Encode(body)
				})
			})
			var log bytes.Buffer
			r.w.mu.Lock()
			r.w.log = hclog.New(&hclog.LoggerOptions{Output: &log})
			r.w.mu.Unlock()
			if n := r.must(backfillRun); n == 0 {
				t.Error("nothing was read")
			}
			_ = r.w.Stop(t.Context())
			if !strings.Contains(log.String(), "rows that nothing names are left out") {
				t.Errorf("nothing is said of it: %.500s", log.String())
			}
		})
	}
}
