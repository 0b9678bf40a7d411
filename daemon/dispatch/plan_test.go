package dispatch

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What a configuration makes of a stream follows from what is stored and what
// was configured, and from nothing else.
func TestWhatAConfigurationMakesOfAStream(t *testing.T) {
	t.Parallel()
	defined := map[string]bool{"a": true, "b": true, "c": true}
	list := protocol.ListHash([]string{"a", "b", "c"})
	base := StreamConfig{Name: "contacts", Portal: "main", Object: "contacts", Autostart: true}
	stored := stream.Stream{Name: "contacts", Portal: "main", Object: "contacts", Active: true, FileActive: true, Backfilled: true, Cursor: 5, Lists: []string{list}, Since: 100}
	for name, tt := range map[string]struct {
		change func(k *knownStream, cfg *StreamConfig)
		kind   ChangeKind
		works  string
		notes  string
	}{
		"as it was":       {func(*knownStream, *StreamConfig) {}, ChangeKept, "", ""},
		"new":             {func(k *knownStream, _ *StreamConfig) { k.was, k.before = nil, nil }, ChangeNew, "backfill by new", ""},
		"new and stopped": {func(k *knownStream, cfg *StreamConfig) { k.was, k.before, cfg.Autostart = nil, nil, false }, ChangeNew, "backfill by new", "it is stopped"},
		"back again":      {func(k *knownStream, _ *StreamConfig) { k.before = nil }, ChangeNew, "", "goes on from where it stood"},
		"another object":  {func(_ *knownStream, cfg *StreamConfig) { cfg.Object = "deals" }, ChangeRefused, "", "another name"},
		"another portal":  {func(_ *knownStream, cfg *StreamConfig) { cfg.Portal = "eu" }, ChangeRefused, "", "another name"},
		"one property more": {func(k *knownStream, _ *StreamConfig) {
			k.was.Choice, k.was.Lists = &stream.Choice{Properties: []string{"a", "b"}}, []string{protocol.ListHash([]string{"a", "b"})}
		}, ChangeKept, "fill by properties", ""},
		"another property": {func(k *knownStream, cfg *StreamConfig) {
			k.was.Choice, k.was.Lists = &stream.Choice{Properties: []string{"a", "b"}}, []string{protocol.ListHash([]string{"a", "b"})}
			cfg.Properties = []string{"b", "c"}
		}, ChangeKept, "reconcile by properties", ""},
		"one property less":    {func(_ *knownStream, cfg *StreamConfig) { cfg.Exclude = []string{"b"} }, ChangeKept, "reconcile by properties", ""},
		"the same otherwise":   {func(_ *knownStream, cfg *StreamConfig) { cfg.Properties = []string{"a", "b", "c", "nope"} }, ChangeKept, "", ""},
		"before the first end": {func(k *knownStream, cfg *StreamConfig) { k.was.Backfilled = false; cfg.Exclude = []string{"b"} }, ChangeKept, "", ""},
		"associations":         {func(_ *knownStream, cfg *StreamConfig) { cfg.Associations = []string{"deals"} }, ChangeKept, "associations by associations", ""},
		"associations read": {func(k *knownStream, cfg *StreamConfig) {
			k.was.Linked, cfg.Associations = []string{"deals"}, []string{"deals"}
		}, ChangeKept, "", ""},
		"associations under way": {func(k *knownStream, cfg *StreamConfig) {
			k.walk, cfg.Associations = &stream.Run{Linked: []string{"deals"}}, []string{"deals"}
		}, ChangeKept, "", ""},
		"no associations any more": {func(k *knownStream, _ *StreamConfig) { k.was.Linked = []string{"deals"} }, ChangeKept, "", "stored stay"},
		"history":                  {func(_ *knownStream, cfg *StreamConfig) { cfg.History = []string{"a"} }, ChangeKept, "history by history", ""},
		"more history": {func(k *knownStream, cfg *StreamConfig) {
			k.was.History, cfg.History = &stream.HistoryChoice{Of: []string{"a"}}, []string{"a", "b"}
		}, ChangeKept, "history by history", ""},
		"less history": {func(k *knownStream, cfg *StreamConfig) {
			k.was.History, cfg.History = &stream.HistoryChoice{Of: []string{"a", "b"}, Properties: cfg.Properties, Exclude: cfg.Exclude}, []string{"a"}
		}, ChangeKept, "", "of fewer properties"},
		"no history any more": {func(k *knownStream, _ *StreamConfig) { k.was.History = &stream.HistoryChoice{Of: []string{"a"}} }, ChangeKept, "", "neither read nor shown"},
		"an earlier start":    {func(_ *knownStream, cfg *StreamConfig) { cfg.StartDate = 50 }, ChangeKept, "reconcile by start_date", ""},
		"no start":            {func(_ *knownStream, cfg *StreamConfig) { cfg.StartDate = 0 }, ChangeKept, "reconcile by start_date", ""},
		"a later start":       {func(_ *knownStream, cfg *StreamConfig) { cfg.StartDate = 200 }, ChangeKept, "", "nothing is read for it"},
		"an earlier start, stopped": {func(k *knownStream, cfg *StreamConfig) { k.was.Active, cfg.StartDate = false, 50 }, ChangeKept,
			"reconcile by start_date", "it is stopped"},
		"an earlier start before anything was read": {func(k *knownStream, cfg *StreamConfig) { k.was.Backfilled, k.was.Cursor, cfg.StartDate = false, 0, 50 }, ChangeKept, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, cfg := base, base
			before.StartDate, cfg.StartDate = 100, 100
			k := knownStream{was: stored.Clone(), before: &before, defined: defined}
			tt.change(&k, &cfg)
			c := changeOf(k, &cfg)
			var works []string
			for _, w := range c.Works {
				works = append(works, string(w.Kind)+" by "+string(w.Cause))
			}
			if c.Kind != tt.kind || strings.Join(works, ",") != tt.works || (tt.notes == "") != (len(c.Notes) == 0) || !strings.Contains(strings.Join(c.Notes, ";"), tt.notes) {
				t.Errorf("%+v", c)
			}
		})
	}
	gone := changeOf(knownStream{was: stored.Clone(), before: &base}, nil)
	if gone.Kind != ChangeRemoved || len(gone.Works) != 0 || !strings.Contains(gone.Notes[0], "stored stays") {
		t.Errorf("%+v", gone)
	}
}

// A plan does nothing; the reload after it makes the walk that the plan named,
// and the next plan has nothing more to say.
func TestReloadDoesWhatThePlanSays(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	with := func(change func(*StreamConfig)) []StreamConfig {
		cfg := modelConfig()
		change(&cfg[0])
		return cfg
	}
	for _, tt := range []struct {
		name string
		cfg  []StreamConfig
		kind string
	}{
		{"a start date", with(func(c *StreamConfig) { c.StartDate = 1000 }), ""},
		{"an earlier one", with(func(c *StreamConfig) { c.StartDate = 500 }), "reconcile"},
		{"associations", with(func(c *StreamConfig) { c.StartDate, c.Associations = 500, []string{"deals"} }), "associations"},
	} {
		plan := b.d.Plan(slices.Clone(tt.cfg))
		if was := b.view().Stream; was.ReconcileNow || !b.store.streams[modelStream].AssociatedAt.Equal(was.AssociatedAt) {
			t.Fatalf("%s: a plan does something: %+v", tt.name, was)
		}
		kinds := ""
		for _, w := range plan[0].Works {
			kinds += string(w.Kind)
		}
		if kinds != tt.kind {
			t.Fatalf("%s: planned %q, want %q", tt.name, kinds, tt.kind)
		}
		had := map[string]bool{}
		for id := range b.store.runs {
			had[id] = true
		}
		b.must(b.d.Reload(b.now, tt.cfg))
		b.now = b.now.Add(time.Second)
		b.beat(protocol.Heartbeat{})
		made := ""
		for id, run := range b.store.runs {
			if run.Kind.Walk() && !had[id] {
				made += string(run.Kind)
			}
		}
		if made != tt.kind {
			t.Fatalf("%s: made %q, want %q", tt.name, made, tt.kind)
		}
		if again := b.d.Plan(slices.Clone(tt.cfg)); len(again[0].Works) != 0 {
			t.Errorf("%s: planned again: %+v", tt.name, again[0])
		}
		if made != "" {
			b.must(b.d.Stop(b.now, modelStream, "api"))
			b.must(b.d.Start(b.now, modelStream, "", "api"))
		}
	}
}

// The reason names the properties that are more and fewer.
func TestPlanNamesProperties(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	type property struct {
		Name string `json:"name"`
	}
	schema, err := json.Marshal([]property{{"a"}, {"b"}, {"c"}})
	if err != nil {
		t.Fatal(err)
	}
	b.store.schemas[modelStream] = schema
	b.d.streams[modelStream].Lists = []string{protocol.ListHash([]string{"a", "b", "c"})}
	cfg := modelConfig()
	cfg[0].Exclude = []string{"b", "c"}
	plan := b.d.Plan(cfg)
	if len(plan[0].Works) != 1 || !strings.Contains(plan[0].Works[0].Reason, "without b, c;") {
		t.Errorf("%+v", plan[0])
	}
	if names := few([]string{"1", "2", "3", "4", "5", "6", "7"}); names != "1, 2, 3, 4, 5 and 2 more" {
		t.Error(names)
	}
}

// A property that the configuration names and HubSpot has not is a problem of
// the stream, which goes on; one that has vanished is none.
func TestUnknownPropertiesAreSaid(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	b.store.schemas[modelStream] = []byte(`[{"name":"a"},{"name":"b"}]`)
	s := b.d.streams[modelStream]
	s.SchemaAsOf, s.Vanished = 7, map[string]int64{"gone": 7}
	cfg := modelConfig()
	cfg[0].Named = []string{"a", "nope", "gone"}
	b.must(b.d.Reload(b.now, cfg))
	v := b.view()
	if v.Error == nil || v.Error.Type != "unknown-property" || v.Error.Blocked || !strings.Contains(v.Error.Detail, " has no nope,") || v.State != StateFailing {
		t.Fatalf("%+v", v.Error)
	}
	b.store.schemas[modelStream] = []byte(`[{"name":"a"},{"name":"nope"}]`)
	b.d.streams[modelStream].SchemaAsOf = 8
	if v := b.view(); v.Error != nil {
		t.Errorf("HubSpot has it now: %+v", v.Error)
	}
	b.d.streams[modelStream].SchemaAsOf = 0
	b.must(b.d.Reload(b.now, cfg))
	if v := b.view(); v.Error != nil {
		t.Errorf("nothing was read yet: %+v", v.Error)
	}
}

// Associations that are asked for do not wait behind what comes again and again.
func TestChosenAssociationsComeFirst(t *testing.T) {
	t.Parallel()
	b := backfilled(t)
	cfg := modelConfig()
	cfg[0].ArchivedEvery, cfg[0].ReconcileEvery, cfg[0].Associations = time.Millisecond, time.Millisecond, []string{"deals"}
	b.must(b.d.Reload(b.now, cfg))
	b.now = b.now.Add(time.Hour)
	if kind := b.d.walkDue(b.d.streams[modelStream], b.now); kind != stream.Associations {
		t.Errorf("%q is due first", kind)
	}
	b.d.streams[modelStream].Linked, b.d.streams[modelStream].AssociatedAt = []string{"deals"}, b.now
	if kind := b.d.walkDue(b.d.streams[modelStream], b.now); kind != stream.Reconcile {
		t.Errorf("%q is due when they have been read", kind)
	}
}
