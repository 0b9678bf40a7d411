package dispatch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The meeting's streams outside the CRM's contract: one that is read whole,
// parent by parent, one by windows of time, and one from its newest row back.
// What a worker does of its own around its core is here once more, by events.

// rowConfig is a stream of each kind.
func rowConfig() []StreamConfig {
	var out []StreamConfig
	for _, s := range [][2]string{{"marketing_event_participants", "second"}, {"email_events", "main"}, {"form_submissions", "second"}} {
		out = append(out, StreamConfig{Name: s[0], Portal: s[1], Object: s[0], Interval: "20s", Schedule: everySchedule(20 * time.Second), Autostart: true,
			Tail: 4 * time.Second, Settle: []time.Duration{30 * time.Second, 60 * time.Second},
			ArchivedEvery: 25 * time.Second, ReconcileEvery: 50 * time.Second, MaxDeletes: 0.02})
	}
	return out
}

// hubRow is a row. Its digest is its content; its time says when it was made, or
// happened, and no change of it changes that.
type hubRow struct {
	at      int64
	content byte
	there   bool
	left    bool      // it was not there once
	shown   time.Time // when HubSpot begins to show it
}

// rowGroups are the parents of rows, in the order of their ids.
func rowGroups() []string { return []string{"a", "b", "c"} }

// logOverlap is how far behind the newest row that is known a log is read.
const logOverlap = 60 * time.Second

// grow makes a row: now, or what HubSpot has had for a while.
func (h *hub) grow(before time.Duration) {
	h.nrow++
	group := rowGroups()[h.m.rng.IntN(len(rowGroups()))]
	late := h.m.between(0, 20000)
	if before > 0 {
		late = 0
	}
	h.rows[fmt.Sprintf("%s/%d", group, h.nrow)] = &hubRow{at: h.ms() - before.Milliseconds(), there: true, shown: h.m.now.Add(late)}
}

// editRows lets something happen to rows; events and logs only grow.
func (h *hub) editRows(whole bool) {
	m := h.m
	id := slices.Sorted(maps.Keys(h.rows))[m.rng.IntN(len(h.rows))]
	switch r := h.rows[id]; {
	case !whole || m.rng.IntN(3) == 0:
		h.grow(0)
		m.seen["row"]++
	case h.refused == "" && m.rng.IntN(4) == 0:
		h.refused = rowGroups()[m.rng.IntN(len(rowGroups()))]
		m.after(m.between(5000, 60000), func() { h.refused = "" })
		m.seen["parent refused"]++
	case r.there && m.rng.IntN(2) == 0:
		r.content++
		m.seen["row changed"]++
	case r.there && len(h.present("", m.now)) > 6:
		r.there, r.left = false, true
		m.seen["row gone"]++
	case !r.there:
		r.there, r.content = true, r.content+1
		m.seen["row back"]++
	}
}

// present are the ids that HubSpot shows and that begin with a prefix.
func (h *hub) present(prefix string, now time.Time) (ids []string) {
	for id, r := range h.rows {
		if r.there && !r.shown.After(now) && strings.HasPrefix(id, prefix) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, protocol.CompareIDs)
	return ids
}

// row reads a row. The time of reading is HubSpot's, to the second.
func (h *hub) row(id string) protocol.Record {
	r := h.rows[id]
	return protocol.Record{ID: id, State: "live", Version: r.at, AsOf: h.ms() / 1000 * 1000, Digest: [16]byte{7, r.content}}
}

// newestFirst are the rows of some time on, from the newest back.
func (h *hub) newestFirst(ids []string, from, to int64) []protocol.Record {
	var out []protocol.Record
	for _, id := range ids {
		if at := h.rows[id].at; at >= from && at <= to {
			out = append(out, h.row(id))
		}
	}
	slices.SortFunc(out, func(a, b protocol.Record) int {
		return cmp.Or(cmp.Compare(b.Version, a.Version), protocol.CompareIDs(b.ID, a.ID))
	})
	return out
}

// rowReading is what a range has read and not listed yet.
type rowReading struct {
	open  bool
	left  []protocol.Record
	held  map[string]protocol.Record // what was listed last
	end   string                     // where the part that is open ends
	to    int64                      // or when
	name  string                     // of the log that is open
	known map[string]int64           // the newest row of each log
}

// ofRows makes the next listing of a range of rows.
func (a *drive) ofRows(r *driveRange, page *protocol.Page) {
	page.Kind, page.List = protocol.ListingPage, ""
	if r.rows == nil {
		r.rows = &rowReading{known: map[string]int64{}}
		if a.f.Kind == string(stream.Incremental) && r.g.Kind == string(stream.LogRange) {
			_ = json.Unmarshal([]byte(a.f.Notes), &r.rows.known) // none at first
		}
	}
	switch stream.RangeKind(r.g.Kind) {
	case stream.WholeRange:
		a.wholeRows(r, page)
	case stream.EventsRange:
		a.eventRows(r, page)
	default:
		a.logRows(r, page)
	}
}

// cut lists some of what is open; done says that it was the last.
func (r *driveRange) cut(page *protocol.Page, n int) (done bool) {
	x := r.rows
	n = min(n, len(x.left))
	x.held = map[string]protocol.Record{}
	for _, rec := range x.left[:n] {
		page.Listing = append(page.Listing, protocol.Listed{ID: rec.ID, Version: rec.Version, Digest: rec.Digest})
		x.held[rec.ID] = rec
	}
	x.left = x.left[n:]
	x.open = len(x.left) > 0
	return !x.open
}

// wholeRows lists parent by parent, each as it is when its turn comes.
func (a *drive) wholeRows(r *driveRange, page *protocol.Page) {
	h, m := a.hub(), a.p.m
	for _, group := range rowGroups() {
		if r.rows.open {
			break
		}
		end := group + "/" + protocol.AfterAll
		if page.From != "" && protocol.CompareIDs(end, page.From) <= 0 {
			continue
		}
		if h.refused == group && !m.quiet {
			m.seen["except"]++
			if page.To = end; m.bug != "what is not handed out is not named" {
				page.Except = []string{group + "/"}
			}
			return
		}
		r.rows.open, r.rows.end = true, end
		for _, id := range h.present(group+"/", m.now) {
			if page.From == "" || protocol.CompareIDs(id, page.From) > 0 {
				r.rows.left = append(r.rows.left, h.row(id))
			}
		}
	}
	if !r.rows.open {
		page.Last = true
		return
	}
	if r.cut(page, a.size(1, 6, 6)) {
		page.To = r.rows.end
		return
	}
	page.To = page.Listing[len(page.Listing)-1].ID
}

// eventRows lists windows from the newest event back; only a window's end moves
// the cursor.
func (a *drive) eventRows(r *driveRange, page *protocol.Page) {
	h, m := a.hub(), a.p.m
	hi := r.g.Hi
	if hi == 0 {
		hi = max(a.began, r.g.Lo)
	}
	if !r.rows.open {
		at, _ := strconv.ParseInt(page.From, 10, 64)
		lo := max(r.g.Lo, at)
		if r.rows.to = hi; hi-lo > 2000 && m.rng.IntN(3) == 0 {
			r.rows.to = max(lo+(hi-lo)/2, hi-20_000)
		}
		if r.g.Newest || m.bug != "a window is read once" {
			r.rows.left = h.newestFirst(h.present("", m.now), lo-1, r.rows.to+1)
		}
	}
	if page.To = page.From; r.cut(page, a.size(1, 6, 6)) {
		page.To, page.Last = fmt.Sprint(r.rows.to), r.rows.to >= hi
	}
}

// logRows lists log by log from its newest row back to what is known. The cursor
// says in which, what its newest row was, and behind which it goes on.
func (a *drive) logRows(r *driveRange, page *protocol.Page) {
	h, m, x := a.hub(), a.p.m, r.rows
	var inside, after string
	newest := int64(0)
	if f := strings.Split(page.From, " "); len(f) == 3 {
		inside, after = f[0], f[2]
		newest, _ = strconv.ParseInt(f[1], 10, 64)
	}
	for _, name := range rowGroups() {
		if x.open {
			break
		}
		here := name == inside
		if here {
			x.known[name] = max(x.known[name], newest)
		}
		if name < inside || here && after == "" {
			continue
		}
		from := int64(0)
		if was := x.known[name]; was > 0 && !here {
			from = was - logOverlap.Milliseconds()
		}
		x.name, x.open, x.left = name, true, h.newestFirst(h.present(name+"/", m.now), from, h.ms())
		if here {
			m.seen["log resumed"]++
			i := slices.IndexFunc(x.left, func(rec protocol.Record) bool { return rec.ID == after })
			if x.left = x.left[i+1:]; m.bug == "a log has been read when its newest row was" {
				x.left = nil
			}
		}
		for _, rec := range x.left { // what came since is the next run's
			x.known[name] = max(x.known[name], rec.Version)
		}
	}
	if !x.open {
		b, _ := json.Marshal(x.known) // numbers
		page.Last, page.Notes = true, string(b)
		return
	}
	after = ""
	if !r.cut(page, a.size(1, 6, 6)) {
		after = page.Listing[len(page.Listing)-1].ID
	}
	page.To = fmt.Sprintf("%s %d %s", x.name, x.known[x.name], after)
}

// bringRows brings what is wanted: from memory what was listed, and what is to
// be looked for as it is now.
func (a *drive) bringRows(r *driveRange, page *protocol.Page) {
	h, m := a.hub(), a.p.m
	page.Kind, page.List = protocol.RecordsPage, ""
	for _, w := range r.g.Want[:min(len(r.g.Want), a.size(1, 9, 9))] {
		group, _, _ := strings.Cut(w.ID, "/")
		refused := h.refused == group && !m.quiet
		row := h.rows[w.ID]
		switch {
		case r.rows != nil:
			rec, held := r.rows.held[w.ID]
			if !held {
				m.fail("row %s is wanted and was not listed", w.ID)
			}
			page.Records = append(page.Records, rec)
		case refused && m.bug != "what is not handed out is not named":
			page.Open = append(page.Open, protocol.OpenID{ID: w.ID, Version: w.Version, Reason: "HubSpot does not hand out what it belongs to"})
		case refused || !row.there:
			m.seen["row not found"]++
			page.Gone, page.AsOf = append(page.Gone, w.ID), h.ms()/1000*1000
		default:
			m.seen["row found"]++
			page.Records = append(page.Records, h.row(w.ID))
		}
	}
}

// compareRow holds a row against HubSpot.
func (m *meeting) compareRow(name, id string, r *hubRow) string {
	stored, ok := m.store.records[recordKey(name, id)]
	switch {
	case !r.there && ok && stored.State != stream.Purged:
		return fmt.Sprintf("row %s of %s is %s, and not in HubSpot", id, name, stored.State)
	case !r.there:
		return ""
	case !ok:
		return fmt.Sprintf("row %s of %s is missing: of %d, shown at %s, the stream %+v", id, name, r.at, r.shown.Sub(epochStart), m.d.streams[name])
	case stored.State != stream.Live || stored.Digest[1] != r.content:
		return fmt.Sprintf("row %s of %s is %s with content %d, in HubSpot %d", id, name, stored.State, stored.Digest[1], r.content)
	}
	return ""
}

// auditRows finds rows that were ended and never were away.
func (m *meeting) auditRows(name string, h *hub) {
	for id, r := range h.rows {
		if stored, ok := m.store.records[recordKey(name, id)]; ok && stored.State == stream.Purged && !r.left {
			m.fail("row %s of %s was ended and is there", id, name)
		}
	}
}
