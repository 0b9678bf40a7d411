package hubspot

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// TestNeverOverTheLimit: whatever the account's ceiling, and from the first
// request on, nothing is refused, and most of the ceiling is used.
func TestNeverOverTheLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ ceiling, least int }{{100, 9}, {190, 17}, {250, 22}} {
		t.Run(strconv.Itoa(tt.ceiling), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := simulator.New(simulator.Options{Token: testToken, Sizes: map[string]int{"contacts": 300}, Limits: true, BurstPer10s: tt.ceiling, Latency: 300 * time.Millisecond})
				c := clientOf(t, sim, nil)
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						for range tt.least * 3 { // 60 s in all
							if _, err := list(t.Context(), t, c); err != nil {
								t.Error(err)
								return
							}
						}
					})
					all.Go(func() {
						for range 12 {
							if _, err := c.Search(t.Context(), contacts(t), SearchRequest{Limit: 1}); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				began := time.Now()
				all.Wait()
				if r := sim.Stats().Refused; r != (simulator.Refused{}) {
					t.Errorf("refused as over a limit: %+v", r)
				}
				if took := time.Since(began); took > 66*time.Second {
					t.Errorf("took %v: less than %d a second", took, tt.least)
				}
				if u := c.Usage(); u.Daily != 625000 || u.DailyRemaining == 0 || u.ByKind["search"] != 240 {
					t.Errorf("usage %+v", u)
				}
			})
		})
	}
}

// Searches have a limit of their own: what their replies say of one is not the
// ceiling of the others.
func TestSearchesTeachNoCeiling(t *testing.T) {
	t.Parallel()
	h := map[string]string{"X-HubSpot-RateLimit-Max": "5", "X-HubSpot-RateLimit-Interval-Milliseconds": "1000", "X-HubSpot-RateLimit-Remaining": "0"}
	search := step{status: 200, header: h, body: `{"total":0,"results":[]}`}
	c, _ := scripted(t, nil, search, step{status: 200, header: h, body: pageOf("", "1")})
	before := c.Usage().BurstRate
	if _, err := c.Search(t.Context(), contacts(t), SearchRequest{}); err != nil {
		t.Fatal(err)
	}
	if u := c.Usage(); u.Ceiling != 0 || u.BurstRate != before || c.Crowded() {
		t.Errorf("a search was taken for the ceiling: %+v", u)
	}
	if _, err := list(t.Context(), t, c); err != nil {
		t.Fatal(err)
	}
	if u := c.Usage(); u.Ceiling != 5 || !c.Crowded() {
		t.Errorf("a page of the list was not: %+v", u)
	}
}

func limits(ceiling, remaining int) http.Header {
	h := http.Header{}
	h.Set("X-HubSpot-RateLimit-Max", strconv.Itoa(ceiling))
	h.Set("X-HubSpot-RateLimit-Interval-Milliseconds", "10000")
	h.Set("X-HubSpot-RateLimit-Remaining", strconv.Itoa(remaining))
	return h
}

// TestOthersAreLeftTheirShare: what others of the account use is not ours.
func TestOthersAreLeftTheirShare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		remaining int
		rate      float64
	}{
		{"alone", 190, 18.05}, {"noise", 186, 18.05}, {"half of it is used by others", 95, 9.025},
		{"others use nearly all", 5, 0.9025}, {"more than all", 0, 0.9025},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer(9, 2)
			p.learn(limits(190, tt.remaining))
			if rate, _, _ := p.known(); rate < tt.rate-0.01 || rate > tt.rate+0.01 {
				t.Errorf("%s: %v a second, want %v", tt.name, rate, tt.rate)
			}
			began := time.Now()
			if err := p.wait(t.Context(), sleep); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); (took >= time.Second) != (tt.remaining == 0) {
				t.Errorf("%s: the next request waits %v", tt.name, took)
			}
		})
	}
}

func TestHeadersThatSayNothing(t *testing.T) {
	t.Parallel()
	p := newPacer(9, 2)
	for _, h := range []http.Header{{}, limits(0, 5), limits(-3, -3), {"X-Hubspot-Ratelimit-Max": {"x"}}, {"X-Hubspot-Ratelimit-Max": {"190"}}} {
		p.learn(h)
		if rate, _, _ := p.known(); rate != 9 {
			t.Errorf("%v changes the rate to %v", h, rate)
		}
	}
}

// TestNothingComesAtOnceAfterAPause holds the rhythm for those who waited.
func TestNothingComesAtOnceAfterAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 1)
		p.pause(time.Now().Add(time.Minute))
		p.pause(time.Now()) // an earlier end changes nothing
		began := time.Now()
		var all sync.WaitGroup
		for range 41 {
			all.Go(func() { _ = p.wait(t.Context(), sleep) })
		}
		all.Wait()
		if took := time.Since(began) - time.Minute; took < 3800*time.Millisecond || took > 4*time.Second {
			t.Errorf("41 requests at 10 a second took %v after the pause", took)
		}
	})
}

// One at a time that takes longer than the rhythm's step leaves room for more;
// two who are ahead of it do not.
func TestCrowded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 1)
		for range 20 {
			if err := p.wait(t.Context(), sleep); err != nil {
				t.Fatal(err)
			}
			<-time.After(150 * time.Millisecond)
			if p.crowded() {
				t.Fatal("crowded by requests that take longer than their step")
			}
		}
		for range 20 {
			p.reserve()
		}
		if !p.crowded() {
			t.Error("twenty at once do not crowd it")
		}
		p.unpaced = true
		if p.crowded() {
			t.Error("without a rhythm nothing crowds it")
		}
	})
}

// TestHeldUpSearches: places that were taken in time and are used late, all at
// once, leave the ones after them waiting until the second is over.
func TestHeldUpSearches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(4, 0)
		for range 5 {
			p.reserve()
		}
		<-time.After(2 * time.Second) // the machine does something else
		for range 5 {
			if !p.granted() {
				t.Error("a place within the limit is not granted")
			}
		}
		late := time.Now()
		for n := range 8 {
			if err := p.wait(t.Context(), sleep); err != nil {
				t.Fatal(err)
			}
			after := time.Since(late)
			if after < time.Second {
				t.Errorf("request %d comes %v after five others", n+6, after)
			}
			if bound := 1500*time.Millisecond + time.Duration(n)*250*time.Millisecond; after > bound {
				t.Errorf("request %d comes after %v, later than %v", n+6, after, bound)
			}
		}
	})
}
