package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// scraped is what Prometheus reads of a daemon, by metric and labels.
type scraped map[string]float64

// scrape reads the metrics with Prometheus' own parser.
func (s *system) scrape() (values scraped, text string) {
	s.t.Helper()
	text = s.get("/metrics")
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	values = scraped{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() { // sorted by name
				key += " " + l.GetName() + "=" + l.GetValue()
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				values[key] = m.GetCounter().GetValue()
			default:
				values[key] = m.GetGauge().GetValue()
			}
		}
	}
	return values, text
}

// same holds the metrics of a stream that stands still against its status and
// its last run.
func (v scraped) same(st client.Status, last client.Run) error {
	of := " stream=" + st.Name
	want := scraped{
		"hubpipe_stream_records state=live" + of:                                float64(st.Records),
		"hubpipe_stream_open_ids" + of:                                          float64(st.OpenIDs),
		"hubpipe_stream_state state=" + st.State + of:                           1,
		"hubpipe_last_run_requests kind=" + last.Kind + of:                      float64(last.Requests),
		"hubpipe_last_run_records kind=" + last.Kind + of:                       float64(last.Records),
		"hubpipe_stream_info object=" + st.Object + " portal=" + st.Portal + of: 1,
	}
	if st.CompleteUntil != nil {
		want["hubpipe_stream_complete_until_timestamp_seconds"+of] = float64(st.CompleteUntil.UnixMilli()) / 1000
	}
	if last.Ended != nil {
		want["hubpipe_last_run_duration_seconds kind="+last.Kind+of] = last.Ended.Sub(last.Started).Seconds()
	}
	for key, value := range want {
		name, labels, _ := strings.Cut(key, " ")
		if got, ok := v.find(name, labels); !ok || got != value {
			return fmt.Errorf("%s is %v (%v), want %v", key, got, ok, value)
		}
	}
	dead := 0.0
	for _, state := range []string{"archived", "purged", "merged"} {
		n, _ := v.find("hubpipe_stream_records", "state="+state+of)
		dead += n
	}
	if dead != float64(st.Tombstones) {
		return fmt.Errorf("%s: %v tombstones, want %d", st.Name, dead, st.Tombstones)
	}
	lag, ok := v.find("hubpipe_stream_lag_seconds", of)
	// A machine may stand still between the two.
	if !ok || st.LagSeconds == nil || lag < float64(*st.LagSeconds) || lag > float64(*st.LagSeconds)+120 {
		return fmt.Errorf("%s: lag %v, the status said %v a moment before", st.Name, lag, st.LagSeconds)
	}
	return nil
}

// find looks a series up by its labels, in whatever order.
func (v scraped) find(name, labels string) (float64, bool) {
	want := strings.Fields(labels)
	for key, value := range v {
		fields := strings.Fields(key)
		if fields[0] != name || len(fields) != len(want)+1 {
			continue
		}
		has := " " + strings.Join(fields[1:], " ") + " "
		all := true
		for _, w := range want {
			all = all && strings.Contains(has, " "+w+" ")
		}
		if all {
			return value, true
		}
	}
	return 0, false
}

// The metrics of a real daemon parse and lint, need the token, hold no secret,
// say what the other routes say, and do not grow with time.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "300", "--deals", "50", "--limits=false")
	s.daemon()
	s.worker()
	s.becomesEqual("contacts", "deals")
	archived := s.live("contacts")[:3]
	s.change("contacts", fmt.Sprintf(`{"archive":%s,"change":5}`, list(t, archived)))
	s.reconcile("contacts")
	for _, name := range []string{"contacts", "deals"} {
		if out, err := s.hubpipe("stop", name); err != nil {
			t.Fatal(err, out)
		}
	}
	for _, token := range []string{"", "wrong"} {
		if code, text := fetch(t, http.MethodGet, s.http+"/metrics", "", token); code != http.StatusUnauthorized || strings.Contains(text, "hubpipe_") {
			t.Errorf("token %q: %d %s", token, code, text)
		}
	}
	var values scraped
	var text string
	until(t, "the metrics say what the status says", func() error {
		for _, name := range []string{"contacts", "deals"} {
			st, runs := s.status(name), s.runs(name)
			values, text = s.scrape()
			if err := values.same(st, runs[0]); err != nil {
				return err
			}
		}
		return nil
	})
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	// An id as a label's value: as a number it may be any metric's.
	for _, secret := range []string{hubspotToken, s.token(), `"` + archived[0] + `"`} {
		if strings.Contains(text, secret) {
			t.Errorf("a secret or an id is told: %s", secret)
		}
	}
	leasts := scraped{
		"hubpipe_reconcile_records result=checked stream=contacts":                 300,
		"hubpipe_runs_total kind=reconcile outcome=done stream=contacts":           1,
		"hubpipe_hubspot_requests_total kind=backfill portal=main stream=contacts": 1,
		"hubpipe_portal_used_today_requests portal=main":                           1,
		"hubpipe_pages_total outcome=committed":                                    1,
		"hubpipe_readings_total outcome=inserted stream=contacts":                  300,
		"hubpipe_workers state=online":                                             1,
		"hubpipe_attempts_total":                                                   1,
		"hubpipe_store_commits_total":                                              1,
		"hubpipe_store_disk_bytes part=tree":                                       1,
		"hubpipe_store_free_bytes":                                                 1,
		"hubpipe_broker_connections state=open":                                    3,
		"hubpipe_stream_position stream=contacts":                                  300,
		"hubpipe_ready": 1,
		"hubpipe_stream_records state=archived stream=contacts": 3,
		"process_resident_memory_bytes":                         1 << 20,
	}
	for key, least := range leasts {
		name, labels, _ := strings.Cut(key, " ")
		if got, ok := values.find(name, labels); !ok || got < least {
			t.Errorf("%s is %v (%v), at least %v was expected", key, got, ok, least)
		}
	}
	// More of the same makes no more series.
	before := series(values)
	for range 3 {
		s.syncs("contacts")
	}
	values, _ = s.scrape()
	if after := series(values); after > before+10 {
		t.Errorf("%d series, %d before", after, before)
	}
}

func series(v scraped) (n int) {
	for key := range v {
		if strings.HasPrefix(key, "hubpipe_") {
			n++
		}
	}
	return n
}
