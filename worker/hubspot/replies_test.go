package hubspot

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each request counts once, by what came of it.
func TestRepliesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := scripted(t, nil, step{status: 429, body: rollBody}, step{status: 429, body: rollBody}, step{status: 502, body: htmlBody},
			step{fail: errors.New("connection reset by peer")}, ok(htmlBody), step{status: 404}, ok(pageOf("", "1")))
		if _, err := list(t.Context(), t, c); err != nil {
			t.Fatal(err)
		}
		want := map[string]uint64{ReplyLimited: 2, ReplyFailed: 3, ReplyRefused: 1, ReplyOK: 1}
		if diff := cmp.Diff(want, c.Usage().Replies); diff != "" {
			t.Error(diff)
		}
	})
}

// What is used of a window are our requests of it and those of others, which are
// forgotten with the window in which HubSpot told of them.
func TestUsedOfTheWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(10, 10)
		used := func(want int64) {
			t.Helper()
			if got := p.used(); got != want {
				t.Errorf("%d are used, want %d", got, want)
			}
		}
		for range 5 {
			if err := p.wait(t.Context(), sleep); err != nil {
				t.Fatal(err)
			}
		}
		used(0) // HubSpot has named no limit
		p.learn(limits(100, 65))
		used(35)
		pass(6 * time.Second)
		for range 3 {
			if err := p.wait(t.Context(), sleep); err != nil {
				t.Fatal(err)
			}
		}
		used(38)
		pass(5 * time.Second)
		used(3)
		p.learn(limits(2, 2))
		used(2)
		pass(10 * time.Second)
		used(0)
	})
}
