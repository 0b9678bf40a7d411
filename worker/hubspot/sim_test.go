package hubspot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// names returns all property names of an object.
func names(t *testing.T, c *Client, obj catalogue.Object) []string {
	t.Helper()
	props, err := c.Properties(t.Context(), obj)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(props))
	for i, p := range props {
		out[i] = p.Name
	}
	return out
}

// walk reads a whole list.
func walk(ctx context.Context, c *Client, obj catalogue.Object, props []string) (map[string]Record, error) {
	all := map[string]Record{}
	for after := ""; ; {
		p, err := c.List(ctx, obj, ListRequest{After: after, Properties: props})
		if err != nil {
			return nil, err
		}
		for _, r := range p.Records {
			all[r.ID] = r
		}
		if len(p.Open) > 0 {
			return nil, fmt.Errorf("open ids: %v", p.Open)
		}
		if p.Next == "" {
			return all, nil
		}
		after = p.Next
	}
}

// equal compares what was read with the truth.
func equal(t *testing.T, sim *simulator.Simulator, object string, got map[string]Record) {
	t.Helper()
	truth := sim.Truth(object)
	if len(truth) != len(got) {
		t.Errorf("%s: read %d records, there are %d", object, len(got), len(truth))
	}
	for _, o := range truth {
		rec, ok := got[o.ID]
		if !ok {
			t.Errorf("%s %s is missing", object, o.ID)
			continue
		}
		if !slices.Equal(values(t, rec.Properties), values(t, asJSON(t, o.Properties))) {
			t.Errorf("%s %s differs:\n%s", object, o.ID, cmp.Diff(values(t, asJSON(t, o.Properties)), values(t, rec.Properties)))
		}
	}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// values returns name=value of all that is not null, sorted.
func values(t *testing.T, raw []byte) []string {
	t.Helper()
	var m map[string]*string
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	var out []string
	for k, v := range m {
		if v != nil {
			out = append(out, k+"="+*v)
		}
	}
	slices.Sort(out)
	return out
}

func TestWalkEqualsTheTruth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		o    simulator.Options
	}{
		{"plain", simulator.Options{Limits: true}},
		{"opaque places", simulator.Options{Limits: true, OpaqueAfter: map[string]bool{"contacts": true}}},
		{"5 % faults", simulator.Options{Limits: true, FaultRate: 0.05}},
		{"too many names for an address", simulator.Options{Limits: true, Properties: 600}},
		{"an address shorter than ours", simulator.Options{Limits: true, Properties: 200, MaxURL: 2000}},
		{"strict bodies", simulator.Options{Limits: true, Properties: 600, StrictBodies: true}},
		{"old version only", simulator.Options{Limits: true, Versions: []string{"v3"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tt.o.Token, tt.o.Seed, tt.o.Sizes = testToken, 7, map[string]int{"contacts": 730, "deals": 120}
				sim := simulator.New(tt.o)
				c := clientOf(t, sim, nil)
				if a, err := c.Account(t.Context()); err != nil || a.PortalID != 4711001 || a.TimeZone == "" {
					t.Fatalf("account %+v, %v", a, err)
				}
				for _, object := range []string{"contacts", "deals"} {
					obj, _ := catalogue.Lookup(object)
					got, err := walk(t.Context(), c, obj, names(t, c, obj))
					if err != nil {
						t.Fatal(err)
					}
					equal(t, sim, object, got)
				}
				if r := sim.Stats().Refused; r != (simulator.Refused{}) {
					t.Errorf("refused as over a limit: %+v", r)
				}
				if tooLong := sim.Stats().TooLong; tooLong > 2 {
					t.Errorf("%d addresses were too long: the client does not learn", tooLong)
				}
			})
		})
	}
}

// TestTwoStepsReadTheSame shows that both ways of walking give one content.
func TestTwoStepsReadTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Token: testToken, Seed: 3, Sizes: map[string]int{"contacts": 250}})
		obj := contacts(t)
		one := clientOf(t, sim, nil)
		two := clientOf(t, sim, func(o *Options) { o.MaxAddress = 300 })
		props := names(t, one, obj)
		a, err := walk(t.Context(), one, obj, props)
		if err != nil {
			t.Fatal(err)
		}
		b, err := walk(t.Context(), two, obj, props)
		if err != nil {
			t.Fatal(err)
		}
		if one.Usage().ByKind["batch"] != 0 || two.Usage().ByKind["batch"] != 3 {
			t.Errorf("batch reads: %d and %d, want 0 and 3", one.Usage().ByKind["batch"], two.Usage().ByKind["batch"])
		}
		for id, rec := range a {
			if rec.Digest != b[id].Digest || rec.Version != b[id].Version {
				t.Errorf("contact %s: %x at %d by list, %x at %d by batch", id, rec.Digest, rec.Version, b[id].Digest, b[id].Version)
			}
		}
	})
}

// proveAll divides a window until every part is proved.
func proveAll(ctx context.Context, c *Client, obj catalogue.Object, w Window) (map[string]int64, error) {
	all := map[string]int64{}
	todo := []Window{w}
	for len(todo) > 0 {
		w, todo = todo[0], todo[1:]
		split, err := c.ProveWindow(ctx, obj, w, func(hits []Hit) error {
			for _, h := range hits {
				all[h.ID] = max(all[h.ID], h.Version)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if split != nil {
			lo, hi := w.divide(*split)
			if reflect.DeepEqual(lo, hi) || reflect.DeepEqual(lo, w) || reflect.DeepEqual(hi, w) {
				return nil, fmt.Errorf("split %+v does not divide %+v", *split, w)
			}
			todo = append(todo, lo, hi)
		}
	}
	return all, nil
}

func TestOneMillisecondOf12000(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{
			Token: testToken, Seed: 5, Sizes: map[string]int{"contacts": 13000}, Properties: 8,
			Limits: true, FaultRate: 0.05, SearchLateness: 5 * time.Second, StaleReads: 0.05, StaleFor: 3 * time.Second,
		})
		obj := contacts(t)
		c := clientOf(t, sim, nil)
		at := time.Now().UnixMilli()
		changed, err := sim.Change("contacts", simulator.Change{Change: 12000, At: at})
		if err != nil {
			t.Fatal(err)
		}
		pass(6 * time.Second) // search knows all of them then
		hits, err := proveAll(t.Context(), c, obj, Window{Lo: at - 1000})
		if err != nil {
			t.Fatal(err)
		}
		want := make([]Hit, 0, len(hits))
		for id, v := range hits {
			want = append(want, Hit{id, v})
		}
		for _, id := range changed {
			if hits[id] != at {
				t.Fatalf("contact %s changed at %d, the windows have %d", id, at, hits[id])
			}
		}
		got := map[string]Record{}
		open, err := c.ReadAll(t.Context(), obj, want, ReadRequest{Properties: names(t, c, obj)}, func(recs []Record) error {
			for _, r := range recs {
				if _, twice := got[r.ID]; twice {
					t.Errorf("contact %s is emitted twice", r.ID)
				}
				got[r.ID] = r
			}
			return nil
		})
		if err != nil || len(open) > 0 || len(got) != len(want) {
			t.Fatalf("%d of %d read, open %v, error %v", len(got), len(want), open, err)
		}
		if r := sim.Stats().Refused; r != (simulator.Refused{}) {
			t.Errorf("refused as over a limit: %+v", r)
		}
	})
}

func TestWindowReadWhileItsRecordsChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Token: testToken, Seed: 9, Sizes: map[string]int{"contacts": 3000}, Properties: 8, Latency: 50 * time.Millisecond})
		obj := contacts(t)
		c := clientOf(t, sim, nil)
		lo := time.Now().UnixMilli()
		changed, err := sim.Change("contacts", simulator.Change{Change: 2000})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		hi := time.Now().UnixMilli()
		ctx, stop := context.WithCancel(t.Context())
		var edits sync.WaitGroup
		edits.Go(func() { // records leave the window while it is read
			for i := 0; sleep(ctx, 300*time.Millisecond) == nil && i < 500; i++ {
				_, _ = sim.Change("contacts", simulator.Change{IDs: []string{changed[i]}, Properties: map[string]*string{"email": new(fmt.Sprint(i, "@example.com"))}})
			}
		})
		early, err := proveAll(t.Context(), c, obj, Window{Lo: lo, Hi: hi})
		if err != nil && !errors.Is(err, ErrDoesNotAddUp) {
			t.Fatal(err)
		}
		stop()
		edits.Wait()
		late, err2 := proveAll(t.Context(), c, obj, Window{Lo: hi})
		if err2 != nil {
			t.Fatal(err2)
		}
		for _, id := range changed {
			if early[id] == 0 && late[id] == 0 && err == nil {
				t.Errorf("contact %s is in neither window", id)
			}
		}
	})
}

func TestIdleRunIsOneRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Token: testToken, Seed: 9, Sizes: map[string]int{"contacts": 1000}, Properties: 8})
		obj := contacts(t)
		c := clientOf(t, sim, nil)
		base := time.Now().UnixMilli()
		pass(time.Hour)
		old, err := sim.Change("contacts", simulator.Change{Change: 5})
		if err != nil {
			t.Fatal(err)
		}
		middle := time.Now().UnixMilli()
		pass(time.Hour)
		fresh, err := sim.Change("contacts", simulator.Change{Change: 3})
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		n, err := c.SearchNewest(t.Context(), obj, Window{Lo: now - 60_000}, []Window{{Lo: middle - 60_000, Hi: middle + 60_000}, {Lo: base, Hi: base + 1}})
		if err != nil || !n.Proved || c.Requests() != 1 {
			t.Fatalf("%+v, %v after %d requests", n, err, c.Requests())
		}
		got := map[string]bool{}
		for _, h := range n.Hits {
			got[h.ID] = true
		}
		for _, id := range slices.Concat(old, fresh) {
			if !got[id] {
				t.Errorf("contact %s is not in the one reply", id)
			}
		}
		if d := now - n.Date; d < 0 || d > 1000 {
			t.Errorf("the request began at %d by HubSpot's clock, it is %d", n.Date, now)
		}
		big, err := c.SearchNewest(t.Context(), obj, Window{Lo: 1}, nil)
		if err != nil || big.Proved {
			t.Errorf("1,000 results are proved on a page of %d: %v", len(big.Hits), err)
		}
		if _, err := c.SearchNewest(t.Context(), obj, Window{Lo: 1}, make([]Window, MaxSettle+1)); err == nil {
			t.Error("more groups than HubSpot takes are sent")
		}
	})
}

// TestOverHTTP reads over a real connection, gzip and cut replies included.
func TestOverHTTP(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Token: testToken, Seed: 11, Sizes: map[string]int{"contacts": 450}, FaultRate: 0.2})
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	c := clientOf(t, nil, func(o *Options) {
		o.Transport, o.BaseURL, o.BurstRate = nil, srv.URL, 500
		o.Rand = func() float64 { return 0 }
	})
	// One failure of each kind costs up to a second or two: few pages, then.
	obj := contacts(t)
	got, err := walk(t.Context(), c, obj, names(t, c, obj))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, sim, "contacts", got)
}

func TestTokenShowsNowhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Token: "another"})
		c := clientOf(t, sim, nil)
		_, err := c.Account(t.Context())
		var blocked *Blocked
		if !errors.As(err, &blocked) || blocked.Type != "token" || strings.Contains(fmt.Sprintf("%v %+v", err, *blocked), testToken) {
			t.Errorf("a wrong token gives %v", err)
		}
	})
}

// TestRelease holds that the memory of a page serves another one only once it
// was given back, and never while its records are looked at.
func TestRelease(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Sizes: map[string]int{"contacts": 900}})
	c := clientOf(t, sim, func(o *Options) { o.Unpaced = true })
	obj := contacts(t)
	props := names(t, c, obj)
	want, err := walk(t.Context(), c, obj, props)
	if err != nil {
		t.Fatal(err)
	}
	var open []ListPage // read, and not given back
	check := func() {
		t.Helper()
		for _, p := range open {
			for _, r := range p.Records {
				if diff := cmp.Diff(string(want[r.ID].Properties), string(r.Properties)); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", r.ID, diff)
				}
			}
		}
	}
	read := 0
	for after := ""; ; {
		p, err := c.List(t.Context(), obj, ListRequest{After: after, Properties: props})
		if err != nil {
			t.Fatal(err)
		}
		read += len(p.Records)
		open = append(open, p)
		check()
		if len(open) == 3 {
			open[0].Release()
			open[0].Release() // a second time is nothing
			open = open[1:]
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if read != len(want) {
		t.Errorf("%d records of %d", read, len(want))
	}
}
