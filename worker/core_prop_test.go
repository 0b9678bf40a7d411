package worker

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// TestCoreProperties throws messages at a Core in any order and holds what
// must be true whatever comes: an attempt starts once, a range has one page in
// flight whose repeats are the same bytes, its numbers grow by one, and what
// is over stays silent.
func TestCoreProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := NewCore(CoreOptions{Worker: "w", Process: "p", Portals: []string{"main"}, Capacity: 3})
		now := time.Unix(1000, 0)
		started, over := map[uint64]bool{}, map[uint64]bool{}
		bytesOf := map[string]string{}
		take := func(events []Event) {
			for _, e := range events {
				switch e := e.(type) {
				case Start:
					if started[e.Attempt] {
						t.Fatalf("attempt %d started twice", e.Attempt)
					}
					started[e.Attempt] = true
				case Cancel:
					over[e.Attempt] = true
				case Answered:
					if over[e.Attempt] {
						t.Fatalf("an answer for attempt %d, which is over", e.Attempt)
					}
					if e.Answer.RunEnded {
						over[e.Attempt] = true
					}
				case AddRanges:
					if over[e.Attempt] || !started[e.Attempt] {
						t.Fatalf("ranges for attempt %d, which is not running", e.Attempt)
					}
				}
			}
		}
		attempt := rapid.Uint64Range(1, 8)
		rangeID := rapid.Uint32Range(0, 2)
		t.Repeat(map[string]func(*rapid.T){
			"fetch": func(t *rapid.T) {
				n := attempt.Draw(t, "attempt")
				cmd := fetchOf(n, fmt.Sprint("r", n%3))
				for id := range rapid.Uint32Range(1, 3).Draw(t, "ranges") {
					cmd.Fetch.Ranges = append(cmd.Fetch.Ranges, protocol.Range{ID: id})
				}
				take(c.Command(now, cmd))
			},
			"cancel": func(t *rapid.T) { take(c.Command(now, cancelOf(attempt.Draw(t, "attempt")))) },
			"fail": func(t *rapid.T) {
				n := attempt.Draw(t, "attempt")
				if c.attempts[n] != nil {
					over[n] = true
				}
				c.Failed(n, protocol.Problem{Type: "x"})
			},
			"send": func(t *rapid.T) {
				n, id := attempt.Draw(t, "attempt"), rangeID.Draw(t, "range")
				if head, ok := c.Head(n, id); ok {
					payload := fmt.Sprint(n, id, head.Seq, rapid.Int().Draw(t, "salt"))
					if c.Send(now, &head, []byte(payload)) == nil {
						key := fmt.Sprint(n, "/", id, "/", head.Seq)
						if bytesOf[key] != "" {
							t.Fatalf("page %s was made twice", key)
						}
						bytesOf[key] = payload
					}
				}
			},
			"due": func(t *rapid.T) {
				out, next := c.Due(now)
				for _, o := range out {
					if over[o.Attempt] {
						t.Fatalf("a page of attempt %d left, which is over", o.Attempt)
					}
					if got := bytesOf[fmt.Sprint(o.Attempt, "/", o.Range, "/", o.Seq)]; got != string(o.Encoded) {
						t.Fatalf("a repeat is other bytes: %q, %q", got, o.Encoded)
					}
				}
				if !next.IsZero() && !next.After(now) {
					t.Fatalf("due again at once: %v", next.Sub(now))
				}
			},
			"answer": func(t *rapid.T) {
				kind := rapid.SampledFrom([]protocol.AnswerType{protocol.Seen, protocol.Committed, protocol.Committed,
					protocol.Committed, protocol.Busy, protocol.Fenced, protocol.Refused}).Draw(t, "kind")
				a := answerOf(kind, attempt.Draw(t, "attempt"), rangeID.Draw(t, "range"), rapid.Uint64Range(0, 3).Draw(t, "seq"))
				a.RunEnded = rapid.IntRange(0, 9).Draw(t, "ended") == 0
				a.RangeEnded = a.RunEnded || rapid.IntRange(0, 4).Draw(t, "range ended") == 0
				take(c.Answer(now, a))
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond)
			},
			"reconnect": func(*rapid.T) { c.Reconnected(now) },
			"": func(t *rapid.T) {
				for _, a := range c.Heartbeat(now).Attempts {
					if over[a.Attempt] || !started[a.Attempt] {
						t.Fatalf("attempt %d is listed", a.Attempt)
					}
				}
			},
		})
	})
}
