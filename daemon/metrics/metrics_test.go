package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	dto "github.com/prometheus/client_model/go"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// full is a reading in which everything that can be told is told.
func full(streams int) *Reading {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	r := &Reading{At: at, Version: "test", Ready: true, Leases: 2, Unread: 1, Queued: 3, Dropped: map[string]uint64{"busy": 4},
		Commits: 900, Position: 5000, Epoch: 1, Disk: &store.Disk{Tree: 1 << 20, Log: 8 << 20, Free: 1 << 30, FreeMark: 1 << 28},
		Connected: true, Broker: &broker.Stats{Connections: 3, Pending: 1, Sessions: 3, Refused: map[string]uint64{broker.RefusedTopic: 2}},
		Workers: []dispatch.WorkerView{{ID: "one", Live: true}, {ID: "two"}},
		Counts: dispatch.Counts{Attempts: 7, Pages: map[string]uint64{dispatch.PageCommitted: 30}, Lapsed: map[string]uint64{dispatch.LapseLease: 1},
			Readings: map[dispatch.Reading]uint64{}, Runs: map[dispatch.RunKind]dispatch.Ended{}}}
	requests := stream.Requests{}
	for i := range streams {
		name := fmt.Sprintf("stream_%03d", i)
		last := &stream.Run{ID: "r000000000042", Stream: name, Kind: stream.Incremental, Started: at.Add(-time.Minute), Ended: at.Add(-58 * time.Second), Requests: 3, Records: 5}
		s := Stream{Records: store.Counts{Live: 100, Archived: 3, Purged: 2, Merged: 1}, Position: uint64(i + 1), Bytes: 4096, Measured: true, View: dispatch.View{
			Config: dispatch.StreamConfig{Name: name, Portal: "main", Object: "contacts"}, State: dispatch.StateRunning, Next: at.Add(time.Minute), Every: time.Minute,
			Incremental: &stream.Run{Kind: stream.Incremental}, Walk: &stream.Run{Kind: stream.Reconcile},
			Stream: &stream.Stream{Name: name, Cursor: at.Add(-90 * time.Second).UnixMilli(), Backfilled: true, Fails: 1, Missing: 2, Brake: &stream.Problem{Type: "brake"},
				Open:       []stream.OpenID{{ID: "canary-4711", Reason: "canary-reason"}},
				LastReport: &stream.Report{Checked: 100, Missing: 1, Requests: 9, Seconds: 4}, ReportedAt: at.Add(-time.Hour)},
		}}
		r.Streams = append(r.Streams, s)
		for v := range verdicts() {
			r.Counts.Readings[dispatch.Reading{Stream: name, Verdict: v}] = 10
		}
		for _, kind := range []stream.Kind{stream.Incremental, stream.Backfill, stream.Reconcile} {
			r.Counts.Runs[dispatch.RunKind{Stream: name, Kind: kind}] = dispatch.Ended{By: map[stream.RunState]uint64{stream.Done: 12}, Seconds: 24, Requests: 36, Records: 60, Last: last}
		}
		requests[name] = map[string]uint64{"incremental": 50, "settle": 20, "backfill": 10}
	}
	d := destination.Status{Name: "warehouse", State: destination.Running, Reached: true, Lag: 3 * time.Second, Target: "canary-host", LastCommit: at,
		Error: &stream.Problem{Title: "canary-problem"}}
	for _, s := range r.Streams {
		d.Streams = append(d.Streams, destination.StreamStatus{Stream: s.Stream.Name, Behind: 2, Place: destination.Place{Table: "canary-table", Position: 7, Rows: 9}})
	}
	r.Destinations = []destination.Status{d}
	r.Portals = []dispatch.PortalView{{Portal: stream.Portal{Name: "main", Account: 4711001}, Used: requests, DayEnds: at.Add(time.Hour), Reserve: 0.2,
		Use:    stream.Usage{Ceiling: 190, WindowSeconds: 10, Rate: 18, SearchRate: 4, Daily: 625000, Remaining: 600000},
		Shares: []dispatch.ShareView{{Work: budget.Reconcile, Limit: 1000, Used: 20}}, Throttled: &protocol.Wait{Reason: "canary-wait"}, Journal: &dispatch.JournalView{PulledAt: at}}}
	return r
}

// scrape is what Prometheus gets of a reading.
func scrape(t testing.TB, r *Reading) string {
	t.Helper()
	w := httptest.NewRecorder()
	New(func(context.Context) (*Reading, error) { return r, nil }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func parse(t testing.TB, text string) map[string]*dto.MetricFamily {
	t.Helper()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// What is scraped is what Prometheus' own parser reads and its linter has
// nothing against, and every row of the table is in it.
func TestScrape(t *testing.T) {
	t.Parallel()
	text := scrape(t, full(3))
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families := parse(t, text)
	for _, r := range rows() {
		if families[r.name] == nil {
			t.Errorf("%s is not told", r.name)
		}
	}
	for name, want := range map[string]float64{"hubpipe_stream_lag_seconds": 90, "hubpipe_stream_open_ids": 1, "hubpipe_last_run_duration_seconds": 2,
		"hubpipe_portal_remaining_requests": 600000, "hubpipe_stream_brake": 1, "hubpipe_ready": 1, "process_start_time_seconds": -1, "go_goroutines": -1} {
		f := families[name]
		if f == nil {
			t.Errorf("%s is not told", name)
			continue
		}
		if got := f.GetMetric()[0].GetGauge().GetValue(); want >= 0 && got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if strings.Contains(text, "canary") {
		t.Error("ids or texts of others are told")
	}
}

// A daemon that has nothing yet tells nothing that is not so.
func TestScrapeOfNothing(t *testing.T) {
	t.Parallel()
	families := parse(t, scrape(t, &Reading{}))
	for _, name := range []string{"hubpipe_stream_lag_seconds", "hubpipe_store_free_bytes", "hubpipe_broker_sessions", "hubpipe_reconcile_records"} {
		if families[name] != nil {
			t.Errorf("%s is told", name)
		}
	}
	r := full(1)
	r.Streams[0].Stream = &stream.Stream{}
	r.Streams[0].Next, r.Streams[0].Every, r.Streams[0].Position = time.Time{}, 0, 0
	r.Portals[0].Journal = &dispatch.JournalView{Live: true, Problem: &stream.Problem{}} // HubSpot has not let it be read yet
	families = parse(t, scrape(t, r))
	for _, name := range []string{"hubpipe_stream_lag_seconds", "hubpipe_stream_complete_until_timestamp_seconds", "hubpipe_stream_next_run_timestamp_seconds",
		"hubpipe_stream_position", "hubpipe_stream_interval_seconds", "hubpipe_reconcile_ended_timestamp_seconds",
		"hubpipe_portal_journal_pulled_timestamp_seconds"} {
		if families[name] != nil {
			t.Errorf("%s is told", name)
		}
	}
}

// A daemon that cannot be read fails the scrape: Prometheus then says up == 0.
func TestScrapeFails(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	New(func(context.Context) (*Reading, error) { return nil, errors.New("it is stopping") }).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusInternalServerError || !bytes.Contains(w.Body.Bytes(), []byte("it is stopping")) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Labels have values of small sets, so that series grow with the streams and
// with nothing else.
func TestCardinality(t *testing.T) {
	t.Parallel()
	known := []string{"stream", "portal", "object", "state", "kind", "outcome", "result", "of", "part", "reason", "stage", "destination", "version", "goversion"}
	for _, r := range rows() {
		for _, l := range r.labels {
			if !slices.Contains(known, l) {
				t.Errorf("%s has the label %q: which values can it have?", r.name, l)
			}
		}
	}
	series := func(streams int) (n int) {
		for name, f := range parse(t, scrape(t, full(streams))) {
			if strings.HasPrefix(name, "hubpipe_") {
				n += len(f.GetMetric())
			}
		}
		return n
	}
	one, many := series(1), series(101)
	// With three kinds of runs, three of work, all verdicts and a report.
	if per := (many - one) / 100; per > 80 {
		t.Errorf("%d series a stream", per)
	}
	if one > 150 {
		t.Errorf("%d series", one)
	}
}

// BenchmarkScrape is the writing of what was read, with 200 streams; what the
// reading itself costs is the daemon's benchmark.
func BenchmarkScrape(b *testing.B) {
	r := full(200)
	h := New(func(context.Context) (*Reading, error) { return r, nil })
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
