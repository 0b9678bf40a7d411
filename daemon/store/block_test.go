package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// bodies are content of all kinds: objects with the same names, with others,
// with white space and nested, and what is no JSON.
func bodies() *rapid.Generator[[]byte] {
	value := rapid.SampledFrom([]string{`null`, `"a"`, `"b,\"}"`, `"\\"`, `12`, `true`, `""`, `"Grüße"`, `{"x":[1]}`, `[]`, ` 1`})
	return rapid.Custom(func(t *rapid.T) []byte {
		var b strings.Builder
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
		case 1:
			return []byte(`{}`)
		}
		names := rapid.IntRange(1, 3).Draw(t, "names")
		for i := range rapid.IntRange(1, 5).Draw(t, "values") {
			fmt.Fprintf(&b, `,"%d-%d":%s`, names, i, value.Draw(t, "value"))
		}
		return []byte("{" + b.String()[1:] + "}")
	})
}

// origin is of a run with an id of any kind, known or not.
func origin() *rapid.Generator[stream.Origin] {
	return rapid.Custom(func(t *rapid.T) stream.Origin {
		road, _ := stream.RoadOf(byte(rapid.IntRange(0, 3).Draw(t, "road")))
		run := rapid.SampledFrom([]string{"", "r000000000001", "r000000000001", "r000000000002", "r18446744073709551615", "r1", "r0000000000001", "x"}).Draw(t, "run")
		return stream.Origin{Run: run, Road: road}
	})
}

// What is gathered comes back, also when it is read, gone on with and written
// again, without what is gone.
func TestBlocksComeBack(t *testing.T) {
	t.Parallel()
	var p packer
	rapid.Check(t, func(t *rapid.T) {
		var b block
		first := rapid.Uint64Range(1, 1<<60).Draw(t, "first")
		b.reset(first)
		seq := first
		var want []*stream.Record
		for range rapid.IntRange(1, 3).Draw(t, "times") {
			for range rapid.IntRange(0, 30).Draw(t, "records") {
				r := record(rapid.SampledFrom([]string{"1", "7", "18446744073709551615", "007", "", "x"}).Draw(t, "id"),
					rapid.Int64().Draw(t, "version"), rapid.SampledFrom([]stream.State{stream.Live, stream.Merged}).Draw(t, "state"))
				r.Seq = seq
				seq += rapid.Uint64Range(1, 1000).Draw(t, "step")
				r.Properties = bodies().Draw(t, "properties")
				if rapid.Bool().Draw(t, "more") {
					r.Associations, r.Properties = bodies().Draw(t, "associations"), nil
					r.AssociationsPart = stream.Part{AsOf: rapid.Int64().Draw(t, "as of"), Digest: [16]byte{7}}
					r.History, r.HistoryPart.Digest[3] = bodies().Draw(t, "history"), 1
				}
				r.By, r.ReadBy = origin().Draw(t, "by"), origin().Draw(t, "read by")
				if err := b.add(&r.Head, contentOf(r)); err != nil {
					t.Fatal(err)
				}
				want = append(want, r)
			}
			for range rapid.IntRange(0, len(want)).Draw(t, "gone") {
				i := rapid.IntRange(0, len(want)-1).Draw(t, "which")
				b.find(want[i].Seq).gone = true
				want = slices.Delete(want, i, i+1)
			}
			packed, err := p.pack(&b)
			if err != nil {
				t.Fatal(err)
			}
			if err := unpack(first, packed, &b); err != nil {
				t.Fatal(err)
			}
			var got []*stream.Record
			var free []byte
			for i := range b.rows {
				var r *stream.Record
				if r, free, err = b.record(&b.rows[i], free, 64); err != nil {
					t.Fatal(err)
				}
				got = append(got, r)
			}
			if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
				t.Fatalf("(-written +read):\n%s", diff)
			}
		}
	})
}

// Whatever the bytes, a block is refused or read, and what was read comes back.
func FuzzBlock(f *testing.F) {
	var b block
	for _, body := range []string{`{"a":"1","b":null}`, `{"a":"2","b":"x"}`, `[]`} {
		r := record("7", 1, stream.Live)
		r.By = stream.Origin{Run: "r00000000000" + fmt.Sprint(len(b.rows)), Road: stream.HintRoad}
		if len(b.rows) > 0 {
			r.ReadBy = stream.Origin{Run: "other", Road: stream.BackfillRoad}
		}
		r.Seq = 5 + uint64(len(b.rows))
		r.Properties, r.Associations = []byte(body), []byte(`{"x":1}`)
		if len(b.rows) == 0 {
			b.reset(5)
		}
		if err := b.add(&r.Head, contentOf(r)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.append(nil), true)
	f.Add([]byte{0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{0, 0, 0, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, raw []byte, origins bool) {
		var b, again block
		if b.parse(5, raw, origins) != nil {
			return
		}
		_ = unpack(5, raw, &again)
		read := func(b *block) (out []*stream.Record) {
			for i := range b.rows {
				r, _, err := b.record(&b.rows[i], nil, 0)
				if err != nil {
					out = append(out, nil)
					continue
				}
				out = append(out, r)
			}
			return out
		}
		want := read(&b)
		if err := unpack(5, append([]byte{packed}, s2.Encode(nil, b.append(nil))...), &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read(&again)); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

func FuzzNote(f *testing.F) {
	f.Add((&note{records: 3, last: 9, dead: []uint32{0, 9}}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var n, again note
		if n.read(b) != nil {
			return
		}
		if err := again.read(n.append(nil)); err != nil || again.records != n.records || again.last != n.last || !slices.Equal(again.dead, n.dead) {
			t.Fatalf("%+v became %+v: %v", n, again, err)
		}
	})
}

// world is a store and what should be in it.
type world struct {
	s     *Store
	name  string
	want  map[string]*stream.Record
	marks map[string][]string // what ever stood in a record that is bare by now
	ever  map[string][]string // what ever stood in a record
	n     int
	bare  int // one record in half of that loses its content
}

// same compares two records, faster than cmp does.
func same(a, b *stream.Record) bool {
	return a != nil && b != nil && a.Head == b.Head && bytes.Equal(a.Properties, b.Properties) &&
		bytes.Equal(a.Associations, b.Associations) && bytes.Equal(a.History, b.History)
}

// put stores a record with a mark of its own in each part.
func (w *world) put(t *rapid.T, tx *Tx, rng *rand.Rand) *stream.Record {
	id := fmt.Sprint(rng.IntN(300))
	if rng.IntN(4) == 0 {
		id = fmt.Sprint(rng.IntN(5)) // which changes often
	}
	w.n++
	mark := func(part string) string {
		m := fmt.Sprintf("%s-mark-%d-of-%s-in-%s-", w.name, w.n, id, part)
		w.ever[id] = append(w.ever[id], m)
		return m
	}
	r := record(id, int64(w.n), stream.Live)
	r.By = stream.Origin{Run: runID(uint64(w.n / 20)), Road: stream.SearchRoad}
	if rng.IntN(10) == 0 {
		r.By = stream.Origin{Road: stream.EraseRoad}
	}
	r.ReadBy = r.By
	switch rng.IntN(w.bare) {
	case 0:
		r.State = stream.Purged
	case 1:
		r.State, r.MergedInto = stream.Merged, "7"
	case 2, 3, 4:
		r.State = stream.Archived
	}
	r.Properties = []byte(fmt.Sprintf(`{"mark":"%s","noise":"%x"}`, mark("properties"), rng.Uint64()))
	if rng.IntN(2) == 0 {
		r.Associations, r.AssociationsPart.AsOf = []byte(fmt.Sprintf(`{"companies":["%s"]}`, mark("associations"))), 5
		r.History, r.HistoryPart.Digest[0] = []byte(mark("history")), 6
	}
	if err := tx.Put(w.name, r); err != nil {
		t.Fatal(err)
	}
	if got, err := tx.Record(w.name, id); err != nil || !same(r, got) {
		t.Fatalf("the transaction sees (-put +got) %s %v", cmp.Diff(r, got), err)
	}
	return r
}

func (w *world) commit(t *rapid.T) {
	tx, err := w.s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Discard()
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	staged := map[string]*stream.Record{}
	seen := maps.Clone(w.want)
	for range rapid.SampledFrom([]int{250, 30, 100, 2, 1}).Draw(t, "records") {
		if id := fmt.Sprint(rng.IntN(300)); seen[id] != nil && rng.IntN(3) == 0 {
			if got, err := tx.Record(w.name, id); err != nil || !same(seen[id], got) {
				t.Fatalf("in the transaction (-want +got) %s %v", cmp.Diff(seen[id], got), err)
			}
		}
		r := w.put(t, tx, rng)
		staged[r.ID], seen[r.ID] = r, r
	}
	w.heads(t, tx, seen)
	for id, r := range seen {
		if rng.IntN(20) > 0 {
			continue
		}
		if got, err := tx.Record(w.name, id); err != nil || !same(r, got) {
			t.Fatalf("before the commit (-want +got) %s %v", cmp.Diff(r, got), err)
		}
	}
	if rapid.IntRange(0, 5).Draw(t, "discard") == 0 {
		return
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	w.want = seen
	for id, r := range staged {
		if r.State.Bare() {
			w.marks[id] = w.ever[id]
		}
	}
}

func (w *world) heads(t *rapid.T, tx *Tx, want map[string]*stream.Record) {
	after, upTo := rapid.SampledFrom([]string{"", "3", "100"}).Draw(t, "after"), rapid.SampledFrom([]string{"", "3", "99", "x"}).Draw(t, "up to")
	var ids []uint64
	if err := tx.Heads(w.name, after, upTo, func(h *stream.Head) error {
		n, _ := numberOf(h.ID)
		ids = append(ids, n)
		r := want[h.ID]
		if r == nil {
			t.Fatalf("there is a head of %s", h.ID)
		}
		known := r.Head
		known.By, known.ReadBy = stream.Origin{}, stream.Origin{} // which the index does not have
		if known != *h {
			t.Fatalf("the head of %s is %+v", h.ID, h)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	from, _ := numberOf(after)
	to, bounded := numberOf(upTo)
	n := 0
	for id := range want {
		if i, _ := numberOf(id); (after == "" || i > from) && (!bounded || i <= to) {
			n++
		}
	}
	if len(ids) != n || !slices.IsSorted(ids) {
		t.Fatalf("%d heads after %q up to %q, want %d", len(ids), after, upTo, n)
	}
}

// check looks at everything that readers are promised.
func (w *world) check(t *rapid.T) {
	var want []*stream.Record
	var counts delta
	for _, r := range w.want {
		want = append(want, r)
		counts = counts.plus(of(r.State, 1))
	}
	slices.SortFunc(want, func(a, b *stream.Record) int { return int(a.Seq) - int(b.Seq) })
	ctx := context.Background()
	since, limit := uint64(0), 0
	if len(want) > 0 {
		since = want[0].Seq - 1
	}
	if rapid.Bool().Draw(t, "middle") {
		since += rapid.Uint64Range(0, w.s.Position()-since).Draw(t, "since")
		limit = rapid.IntRange(0, 40).Draw(t, "limit")
		want = slices.DeleteFunc(want, func(r *stream.Record) bool { return r.Seq <= since })
		if limit > 0 && len(want) > limit {
			want = want[:limit]
		}
	}
	var got []*stream.Record
	last, err := w.s.Changes(ctx, w.name, since, limit, func(r *stream.Record) error { got = append(got, r); return nil })
	if err != nil || !slices.EqualFunc(want, got, same) {
		t.Fatalf("changes since %d: %v (-want +got)\n%s", since, err, cmp.Diff(want, got))
	}
	if n := len(want); n > 0 && last != want[n-1].Seq || n == 0 && last != since {
		t.Fatalf("the feed ended at %d", last)
	}
	for _, r := range want[:min(len(want), 10)] {
		if got, err := w.s.Record(w.name, r.ID); err != nil || !same(r, got) {
			t.Fatalf("(-want +got) %s %v", cmp.Diff(r, got), err)
		}
	}
	if got := w.s.Counts(w.name); got.from(Counts{}) != counts {
		t.Fatalf("counted %+v, want %+v", got, counts)
	}
	w.blocks(t)
}

// blocks looks at what is on disk: less than half of each block is dead, only
// dead rows are not in the model, and nothing of what a bare record ever said
// is anywhere.
func (w *world) blocks(t *rapid.T) {
	live, end := 0, uint64(0)
	if err := w.s.view(func(txn *badger.Txn) error {
		var b block
		return w.s.blocks(context.Background(), txn, w.name, 0, func(first uint64, n *note, item *badger.Item) error {
			if err := w.s.load(item, first, n, &b); err != nil {
				return err
			}
			if first <= end || len(b.rows) == 0 || 2*len(n.dead) >= len(b.rows) || len(b.rows) > blockRecords+tailRecords {
				t.Fatalf("block %d after %d has %d records, of which %d are dead", first, end, len(b.rows), len(n.dead))
			}
			for i := range b.rows {
				var h stream.Head
				if err := b.head(&b.rows[i], &h); err != nil {
					return err
				}
				end = h.Seq
				if r := w.want[h.ID]; r == nil || (r.Seq == h.Seq) == b.rows[i].gone {
					t.Fatalf("%s at %d is gone: %t", h.ID, h.Seq, b.rows[i].gone)
				}
				if !b.rows[i].gone {
					live++
				}
				for _, m := range w.marks[h.ID] {
					if bytes.Contains(b.buf, []byte(m)) {
						t.Fatalf("block %d still has %s", first, m)
					}
				}
			}
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if live != len(w.want) {
		t.Fatalf("%d records live in blocks, want %d", live, len(w.want))
	}
}

// Whatever is written, replaced, purged and reopened: readers get what the model
// has, in the order of the feed, superseded copies are less than half of each
// block, and of a purged or merged record nothing is left at all.
func TestBlocksAgainstAModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	defer func() { _ = s.Close() }()
	stage := 0
	rapid.Check(t, func(t *rapid.T) {
		stage++
		w := &world{s: s, name: fmt.Sprintf("s%d", stage), want: map[string]*stream.Record{}, marks: map[string][]string{}, ever: map[string][]string{},
			bare: rapid.SampledFrom([]int{10, 100, 3000}).Draw(t, "bare")}
		for range rapid.IntRange(2, 8).Draw(t, "commits") {
			if stage%10 == 0 && rapid.IntRange(0, 3).Draw(t, "reopen") == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				var err error
				if s, err = Open(context.Background(), testOptions(dir)); err != nil {
					t.Fatal(err)
				}
				w.s = s
			}
			w.commit(t)
			w.check(t)
		}
	})
	verified(t, s)
}

// A record that changes in every commit leaves no more copies behind than it
// may, and they go with it.
func TestCopiesAreBounded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for i := range 3 * maxCopies {
		commit(t, s, func(tx *Tx) error {
			for j := range tailRecords { // so that the block is none to go on with
				if err := tx.Put("contacts", record(fmt.Sprint(1000*i+j+1), 1, stream.Live)); err != nil {
					return err
				}
			}
			return tx.Put("contacts", record("hot", int64(i), stream.Live))
		})
	}
	report, err := s.Verify(context.Background())
	if err != nil || !report.OK() || report.Streams[0].Dead != maxCopies {
		t.Fatalf("%+v %v", report, err)
	}
	commit(t, s, func(tx *Tx) error { return tx.Put("contacts", record("hot", 99, stream.Purged)) })
	if report, err = s.Verify(context.Background()); err != nil || !report.OK() || report.Streams[0].Dead != 0 {
		t.Fatalf("after the purge: %+v %v", report, err)
	}
}

// Records that come one by one come to lie together.
func TestSingleRecordsGather(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const n = 4 * tailRecords
	for i := range n {
		put(t, s, "contacts", fmt.Sprint(i))
		put(t, s, "deals", fmt.Sprint(i))
	}
	report, err := s.Verify(context.Background())
	if err != nil || !report.OK() || report.Streams[0].Blocks != n/tailRecords {
		t.Fatalf("%+v %v", report, err)
	}
	for since := range uint64(2 * n) {
		got := feed(t, s, "contacts", since)
		if len(got) != n-int(since+1)/2 || len(got) > 0 && got[0].Seq <= since {
			t.Fatalf("since %d: %d records", since, len(got))
		}
	}
}

// A record above any block's size stands alone, and one that is purged takes a
// whole block's rewriting into the same transaction.
func TestLargeRecords(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	var want []*stream.Record
	commit(t, s, func(tx *Tx) error {
		for i := range 5 {
			r := record(fmt.Sprint(i), 1, stream.Live)
			r.Properties = []byte(`{"a":"` + strings.Repeat(fmt.Sprint(i), 3*blockBytes/2) + `"}`)
			r.Associations = []byte(strings.Repeat("[]", i))
			want = append(want, r)
			if err := tx.Put("contacts", r); err != nil {
				return err
			}
		}
		return nil
	})
	whole := cmp.Comparer(bytes.Equal) // not byte by byte: these have millions
	if diff := cmp.Diff(want, feed(t, s, "contacts", 0), whole); diff != "" {
		t.Fatalf("(-want +got)\n%.1000s", diff)
	}
	verified(t, s)
}

// A store of the format before is not read as if it were one of this.
func TestTheFormatBeforeIsRefused(t *testing.T) {
	t.Parallel()
	dir := filled(t, 50)
	db, err := badger.Open(badgerOptions(filepath.Join(dir, "badger"), &badgerLog{log: Options{}.withDefaults().Logger}))
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(txn *badger.Txn) error {
		var m map[string]any
		if err := getJSON(txn, []byte{kMeta}, &m); err != nil {
			return err
		}
		delete(m, "format")
		return setJSON(txn, []byte{kMeta}, m)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(dir, "anchor.json"))
	if s, err := Open(context.Background(), testOptions(dir)); err == nil || !strings.Contains(err.Error(), "older") || strings.Contains(err.Error(), "\n") {
		if err == nil {
			_ = s.Close()
		}
		t.Fatalf("got %v", err)
	}
}
