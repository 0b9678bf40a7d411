package worker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"

	"github.com/hashicorp/go-hclog"
)

// TestSimulator backfills over HTTP from a HubSpot that fails now and then,
// and follows a bulk edit of more records in one millisecond than search shows.
func TestSimulator(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Token: "t", Seed: 3, Sizes: map[string]int{"contacts": 11_000}, Properties: 8, FaultRate: 0.03})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	client := hubspot.New(hubspot.Options{BaseURL: server.URL, Token: func() string { return "t" }, Logger: hclog.NewNullLogger(),
		Transport: transport, Unpaced: true, Reread: []time.Duration{time.Millisecond, time.Millisecond}})
	t.Cleanup(client.Close)
	l := newLedger(t)
	l.start(newHub(0), func(o *Options) {
		o.Portals = map[string]Portal{"main": HubSpot(client)}
		o.Lease = 10 * time.Second // nobody is meant to be silent here
	})
	l.run(backfill())
	l.done()
	equalsTruth(t, l, sim)

	at := time.Now().Add(-time.Minute).UnixMilli()
	resp, err := http.Post(server.URL+"/_simulator/contacts", "application/json",
		strings.NewReader(fmt.Sprintf(`{"change":11000,"at":%d,"visible_after":"0s"}`, at)))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	l.mu.Lock()
	hash, asOf := l.lists[0], time.Now().UnixMilli()
	l.mu.Unlock()
	l.run(protocol.Fetch{Kind: "incremental", SchemaHash: hash, SchemaAsOf: asOf}, newest(at-60_000))
	l.done()
	equalsTruth(t, l, sim)
	if l.kinds[protocol.SplitPage]+l.kinds[protocol.SweepPage] == 0 {
		t.Errorf("pages %v: a window that search cannot show was neither split nor walked", l.kinds)
	}
}

// TestDividedWindowsAreSearchedApart: windows that were divided by ids have four
// filters each, and HubSpot takes eighteen in a search. A run that goes on with
// five of them, as after a bulk edit that its worker did not survive, would be
// refused in every attempt.
func TestDividedWindowsAreSearchedApart(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Token: "t", Seed: 5, Sizes: map[string]int{"contacts": 60}, Properties: 8})
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	client := hubspot.New(hubspot.Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
	t.Cleanup(client.Close)
	l := newLedger(t)
	now := time.Now().UnixMilli()
	var windows []protocol.Range
	for i := range uint64(6) {
		g := protocol.Range{Kind: windowRange, Lo: 1, Hi: now, IDLo: 1, IDHi: 1 << 62}
		if truth := sim.Truth("contacts"); i < 5 {
			g.IDHi, _ = decimal(truth[10*(i+1)].ID)
		}
		if i > 0 {
			g.IDLo = windows[i-1].IDHi
		}
		windows = append(windows, g)
	}
	// The first has ended before.
	for _, o := range sim.Truth("contacts")[:10] {
		l.records[o.ID] = protocol.Record{ID: o.ID, Version: o.UpdatedAt.UnixMilli()}
	}
	l.run(protocol.Fetch{Kind: incrementalRun, Began: now}, windows[1:]...)
	l.start(newHub(0), func(o *Options) {
		o.Portals, o.Lease = map[string]Portal{"main": HubSpot(client)}, 10*time.Second
	})
	l.await("the run's end", func() bool { return l.fetch == nil || l.problem != nil })
	equalsTruth(t, l, sim)
}

func equalsTruth(t *testing.T, l *ledger, sim *simulator.Simulator) {
	t.Helper()
	if l.problem != nil {
		t.Fatalf("the run failed: %+v", l.problem)
	}
	truth := sim.Truth("contacts")
	if len(truth) != len(l.records) {
		t.Errorf("%d records, HubSpot has %d", len(l.records), len(truth))
	}
	wrong := 0
	for _, o := range truth {
		if l.records[o.ID].Version != o.UpdatedAt.UnixMilli() {
			if wrong++; wrong < 4 {
				t.Errorf("record %s: version %d, HubSpot says %s", o.ID, l.records[o.ID].Version, o.UpdatedAt)
			}
		}
	}
	t.Logf("%d of %d records differ", wrong, len(truth))
}
