package hubspot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// searching answers searches by a function of the request.
func searching(tb testing.TB, answer func(n int, r searchBody) (total int, ids []string, next int)) (*Client, *int) {
	tb.Helper()
	n := 0
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body searchBody
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			tb.Error(err)
		}
		total, ids, next := answer(n, body)
		n++
		after := ""
		if next > 0 {
			after = strconv.Itoa(next)
		}
		_, _ = fmt.Fprintf(w, `{"total":%d,%s`, total, pageOf(after, ids...)[1:])
	})
	return clientOf(tb, h, nil), &n
}

// prove collects what a window emits, each id once.
func prove(tb testing.TB, c *Client, w Window) (hits []Hit, split *Split, err error) {
	tb.Helper()
	split, err = c.ProveWindow(tb.Context(), contacts(tb), w, func(part []Hit) error {
		hits = distinct(hits, part)
		return nil
	})
	return hits, split, err
}

func ids(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

// TestWindowsAreProved: a page that lies about its size, offsets that shift,
// and totals that grow are not taken for the whole.
func TestWindowsAreProved(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		answer   func(n int, r searchBody) (int, []string, int)
		hits     int
		requests int
		err      error
	}{
		{"one page", func(int, searchBody) (int, []string, int) { return 3, ids(1, 4), 0 }, 3, 1, nil},
		{"nothing", func(int, searchBody) (int, []string, int) { return 0, nil, 0 }, 0, 1, nil},
		{"more hits than the total", func(int, searchBody) (int, []string, int) { return 2, ids(1, 4), 0 }, 3, 1, nil},
		{"short and empty pages that go on", func(_ int, r searchBody) (int, []string, int) {
			switch r.After {
			case "0":
				return 4, ids(1, 2), 1
			case "1":
				return 4, nil, 2
			}
			return 4, ids(2, 5), 0
		}, 4, 3, nil},
		{"an offset that shifts, then not", func(n int, r searchBody) (int, []string, int) {
			switch {
			case n == 0:
				return 4, ids(1, 3), 2
			case n == 1: // 1 left, so that 3 is on the page before
				return 3, ids(4, 5), 0
			case r.After == "0":
				return 3, ids(2, 4), 2
			}
			return 3, ids(4, 5), 0
		}, 3, 4, nil},
		{"a total that grows, then not", func(n int, r searchBody) (int, []string, int) {
			switch n {
			case 0:
				return 3, ids(1, 3), 2
			case 1:
				return 4, ids(3, 4), 0
			}
			return 4, ids(1, 5), 0
		}, 4, 3, nil},
		{"an id twice does not stand for two", func(n int, _ searchBody) (int, []string, int) {
			if n == 0 {
				return 3, []string{"1", "2", "1"}, 0
			}
			return 3, ids(1, 4), 0
		}, 3, 2, nil},
		{"never adds up", func(_ int, r searchBody) (int, []string, int) {
			if f := r.Groups[0].Filters; len(f) == 2 || f[0].Value != "1000000" { // a half
				return 1, ids(1, 2), 0
			}
			return 9, ids(1, 1+min(2, r.Limit)), 0
		}, 0, 3 + 3*4, ErrDoesNotAddUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, n := searching(t, tt.answer)
				// One millisecond: more of it than a page is read by offsets.
				w := Window{Lo: millis("2026-11-01T10:00:00.123Z")}
				w.Hi = w.Lo + 1
				if tt.err != nil {
					w = Window{Lo: 1_000_000}
				}
				hits, split, err := prove(t, c, w)
				if !errors.Is(err, tt.err) || split != nil || len(hits) != tt.hits {
					t.Errorf("%d hits, split %v, %v", len(hits), split, err)
				}
				if tt.err == nil && *n != tt.requests {
					t.Errorf("%d searches, want %d", *n, tt.requests)
				}
			})
		})
	}
}

// TestLargeWindowsAreSplit, strictly inside, and only where the halves hold
// the whole.
func TestLargeWindowsAreSplit(t *testing.T) {
	t.Parallel()
	version := millis("2026-11-01T10:00:00.123Z")
	for _, tt := range []struct {
		name  string
		w     Window
		halve func(n int) int // total of a half, by its turn
		want  *Split
		err   error
	}{
		{"in the middle", Window{Lo: version - 100, Hi: version + 100}, func(int) int { return 6000 }, &Split{At: version}, nil},
		{"all at the beginning", Window{Lo: version, Hi: version + 100}, func(int) int { return 6000 }, &Split{At: version + 1}, nil},
		{"all beyond the end", Window{Lo: version - 100, Hi: version - 50}, func(int) int { return 6000 }, &Split{At: version - 51}, nil},
		{"without an end", Window{Lo: version - 100}, func(int) int { return 6000 }, &Split{At: version}, nil},
		{"from 0", Window{Hi: version + 100}, func(int) int { return 6000 }, &Split{At: version}, nil},
		{"a millisecond by id", Window{Lo: version, Hi: version + 1}, func(int) int { return 6000 }, &Split{ID: 500}, nil},
		{"a millisecond of ids above", Window{Lo: version, Hi: version + 1, IDLo: 500}, func(int) int { return 6000 }, &Split{ID: 501}, nil},
		{"a single id", Window{Lo: version, Hi: version + 1, IDLo: 500, IDHi: 501}, func(int) int { return 6000 }, nil, ErrDoesNotAddUp},
		{"measured again", Window{Lo: version - 100, Hi: version + 100}, func(n int) int {
			if n < 2 {
				return 3000
			}
			return 6000
		}, &Split{At: version}, nil},
		{"never adds up", Window{Lo: version - 100, Hi: version + 100}, func(int) int { return 3000 }, nil, ErrDoesNotAddUp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				whole, halves := tt.w.filters(contacts(t)), 0
				c, _ := searching(t, func(_ int, r searchBody) (int, []string, int) {
					for _, f := range r.Groups[0].Filters {
						if f.Value == "0" {
							t.Error("HubSpot is asked for the time 0")
						}
					}
					if r.After == "5000" && r.Limit == 1 {
						return 12_000, []string{"500"}, 5001
					}
					if !cmp.Equal(r.Groups[0].Filters, whole) {
						halves++
						return tt.halve(halves - 1), ids(1, 2), 1
					}
					return 12_000, ids(1, 2), 1
				})
				hits, split, err := prove(t, c, tt.w)
				if !errors.Is(err, tt.err) || len(hits) != 0 {
					t.Errorf("%d hits, %v", len(hits), err)
				}
				if diff := cmp.Diff(tt.want, split); diff != "" {
					t.Errorf("split (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestSearchRefusesNonsense(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, body := range map[string]string{
			"a place that repeats": `{"total":9,"results":[],"paging":{"next":{"after":"0"}}}`,
			"no total":             `{"results":[]}`,
			"a place of text":      `{"total":9,"results":[],"paging":{"next":{"after":"x"}}}`,
		} {
			c, s := scripted(t, nil, ok(body))
			var failing *Failing
			if _, err := c.Search(t.Context(), contacts(t), SearchRequest{}); !errors.As(err, &failing) || len(s.requests()) > maxGarbled {
				t.Errorf("%s gives %v after %d requests", name, err, len(s.requests()))
			}
		}
		c, s := scripted(t, nil, ok(`{}`))
		if _, err := c.Search(t.Context(), contacts(t), SearchRequest{Groups: make([][]Filter, 6)}); err == nil {
			t.Error("six groups are sent")
		}
		long := []Filter{{Property: strings.Repeat("x", 3000), Operator: "HAS_PROPERTY"}}
		if _, err := c.Search(t.Context(), contacts(t), SearchRequest{Groups: [][]Filter{long}}); err == nil || len(s.requests()) != 0 {
			t.Error("a body above 3,000 characters is sent")
		}
	})
}

// shelf answers batch reads and single reads from two maps that a test
// changes while it runs.
type shelf struct {
	tb    testing.TB
	batch func(read int, id string, archived bool) string // the record, "" for none
	get   map[string]string
	reads map[string]int
	bad   string // an id for which a batch is refused whole
}

func (p *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		id := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if body, ok := p.get[id]; ok {
			_, _ = w.Write([]byte(body))
			return
		}
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var in batchBody
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		p.tb.Error(err)
	}
	if p.bad != "" && slices.Contains(in.Inputs, batchInput{ID: p.bad}) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"status":"error","category":"VALIDATION_ERROR","message":"%s is no id"}`, p.bad)
		return
	}
	var found []string
	for _, one := range in.Inputs {
		if rec := p.batch(p.reads[one.ID], one.ID, r.URL.Query().Get("archived") == "true"); rec != "" {
			found = append(found, rec)
		}
		p.reads[one.ID]++
	}
	w.WriteHeader(http.StatusMultiStatus)
	_, _ = fmt.Fprintf(w, `{"status":"COMPLETE","results":[%s],"errors":[{"category":"OBJECT_NOT_FOUND"}]}`, strings.Join(found, ","))
}

func at(id string, version int64) string {
	return fmt.Sprintf(`{"id":%q,"properties":{"lastmodifieddate":"%d"}}`, id, version)
}

// TestEveryIDIsAccountedFor holds each way in which a batch read lacks one.
func TestEveryIDIsAccountedFor(t *testing.T) {
	t.Parallel()
	const v = 1_700_000_000_000
	synctest.Test(t, func(t *testing.T) {
		p := &shelf{tb: t, reads: map[string]int{}, get: map[string]string{"merged": at("survivor", v), "single": at("single", v)}}
		p.batch = func(read int, id string, archived bool) string {
			switch {
			case id == "good" && !archived,
				id == "late" && read == 1, id == "later" && read == 2,
				id == "archived" && archived:
				return at(id, v)
			case id == "newer" && !archived:
				return at(id, v+9)
			case id == "stale" && read == 0, id == "old" && !archived:
				return at(id, v-5)
			case id == "stale":
				return at(id, v)
			}
			return ""
		}
		c := clientOf(t, p, nil)
		wanted := []string{"good", "newer", "late", "later", "archived", "stale", "old", "merged", "single", "gone", "odd/id"}
		var hits []Hit
		for _, id := range wanted {
			hits = append(hits, Hit{id, v})
		}
		got := map[string]string{}
		first := 0
		open, err := c.ReadAll(t.Context(), contacts(t), hits, ReadRequest{}, func(recs []Record) error {
			if first == 0 {
				first = len(recs)
			}
			for _, r := range recs {
				got[r.ID] += fmt.Sprintf("%d %t %s;", r.Version-v, r.Archived, r.MergedInto)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"good": "0 false ;", "newer": "9 false ;", "late": "0 false ;", "later": "0 false ;", "stale": "0 false ;", "single": "0 false ;",
			"archived": "0 true ;", "merged": "0 false survivor;",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("emitted (-want +got):\n%s", diff)
		}
		if first != 2 {
			t.Errorf("%d records came with the first read: the others are held up", first)
		}
		reasons := map[string]bool{}
		for _, o := range open {
			reasons[o.ID] = o.Version == v && o.Reason != ""
			if (o.Old != nil) != (o.ID == "old") || o.Old != nil && o.Old.Version != v-5 {
				t.Errorf("%s is open with the reading %+v", o.ID, o.Old)
			}
		}
		if diff := cmp.Diff(map[string]bool{"old": true, "gone": true, "odd/id": true}, reasons); diff != "" {
			t.Errorf("open (-want +got):\n%s", diff)
		}
	})
}

// HubSpot refuses a batch for one of its ids: the others are read singly, and
// the batches beside it as ever.
func TestBatchThatIsRefusedWhole(t *testing.T) {
	t.Parallel()
	const v = 1_700_000_000_000
	synctest.Test(t, func(t *testing.T) {
		p := &shelf{tb: t, reads: map[string]int{}, get: map[string]string{}, bad: "7"}
		p.batch = func(_ int, id string, archived bool) string {
			if archived {
				return ""
			}
			return at(id, v)
		}
		var hits []Hit
		for _, id := range ids(1, 251) {
			hits = append(hits, Hit{ID: id})
			if id != p.bad {
				p.get[id] = at(id, v)
			}
		}
		c := clientOf(t, p, func(o *Options) { o.Concurrency = 1 })
		got := map[string]int{}
		open, err := c.ReadAll(t.Context(), contacts(t), hits, ReadRequest{}, func(recs []Record) error {
			for _, r := range recs {
				got[r.ID]++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hits {
			if want := 1; h.ID != p.bad && got[h.ID] != want || h.ID == p.bad && got[h.ID] != 0 {
				t.Errorf("%s came %d times", h.ID, got[h.ID])
			}
		}
		if len(open) != 1 || open[0].ID != p.bad || !open[0].Gone {
			t.Errorf("open: %+v", open)
		}
		if n := c.Requests(); n != 3+1+100 {
			t.Errorf("%d requests: three batches, one among the archived, and a hundred records", n)
		}
	})
}

func TestReadAllEndsWithItsReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &shelf{tb: t, reads: map[string]int{}, batch: func(_ int, id string, _ bool) string { return at(id, 1_700_000_000_000) }}
		c := clientOf(t, p, func(o *Options) { o.Concurrency = 1 })
		hits := make([]Hit, 1000)
		for i := range hits {
			hits[i].ID = strconv.Itoa(i + 1)
		}
		full := errors.New("the reader has enough")
		if _, err := c.ReadAll(t.Context(), contacts(t), hits, ReadRequest{}, func([]Record) error { return full }); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
		if n := c.Requests(); n > 2 {
			t.Errorf("%d requests after the reader had enough", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.ReadAll(ctx, contacts(t), hits, ReadRequest{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestBatchReadHasABound(t *testing.T) {
	t.Parallel()
	c, s := scripted(t, nil, ok(`{}`))
	if _, _, err := c.BatchRead(t.Context(), contacts(t), make([]string, catalogue.BatchLimit+1), nil, false); err == nil {
		t.Error("101 ids are sent")
	}
	if got, _, err := c.BatchRead(t.Context(), contacts(t), nil, nil, false); err != nil || len(got) != 0 || len(s.requests()) != 0 {
		t.Errorf("nothing is asked for: %v, %v", got, err)
	}
}
