package dispatch

import (
	"sort"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

func domainRecord(r *protocol.Record, generation uint32) *stream.Record {
	return &stream.Record{
		Head: stream.Head{ID: r.ID, State: stream.State(r.State), Version: r.Version, AsOf: r.AsOf,
			Digest: r.Digest, List: generation, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
			ArchivedAt: r.ArchivedAt, MergedInto: r.MergedInto},
		Properties: r.Properties,
	}
}

// problemOf is a worker's problem; nil for nil.
func problemOf(p *protocol.Problem) *stream.Problem {
	if p == nil {
		return nil
	}
	return &stream.Problem{Type: p.Type, Title: p.Title, Detail: p.Detail, Hint: p.Hint, Blocked: p.Blocked}
}

func wireListed(in []stream.Listed) []protocol.Listed {
	out := make([]protocol.Listed, len(in))
	for i, l := range in {
		out[i] = protocol.Listed{ID: l.ID, Version: l.Version, Parts: l.Parts, Past: l.Past, Known: l.Known}
	}
	return out
}

// maxWanted bounds the ids that one message names, so that no broker refuses
// it. A range whose want is left out is listed anew.
const maxWanted = 8000

// wireRanges are the ranges of a phase that have not ended, with what they want
// as far as budget ids go.
func wireRanges(in []*stream.Range, phase uint16, budget int) []protocol.Range {
	out := make([]protocol.Range, 0, len(in))
	for _, g := range in {
		if g.Ended || g.Phase != phase {
			continue
		}
		want := g.Want
		if g.Kind != stream.IdsRange && g.Kind != stream.KnownRange && (len(want) > budget || ofRows(g.Kind)) {
			want = nil
		}
		budget -= len(want)
		out = append(out, protocol.Range{ID: g.ID, Kind: string(g.Kind), Lo: g.Lo, Hi: g.Hi,
			IDLo: g.IDLo, IDHi: g.IDHi, Newest: g.Newest, Has: g.Has, Seq: g.Seq, Cursor: g.Cursor,
			Want: wireListed(want), Again: g.Again, Last: g.Last, Ask: g.Ask})
	}
	return out
}

func sortedRanges(m map[uint32]*stream.Range) []*stream.Range {
	out := make([]*stream.Range, 0, len(m))
	for _, g := range m {
		out = append(out, g)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// fetch is the order for the attempt that holds a run, as this change has it.
func (c *change) fetch(run *stream.Run) protocol.Command {
	s := c.d.streams[run.Stream]
	if own := c.streams[run.Stream]; own != nil {
		s = own
	}
	f := &protocol.Fetch{Run: run.ID, Stream: run.Stream, Kind: string(run.Kind), Portal: run.Portal,
		Object: s.Object, Began: run.Began, Whole: run.Whole, From: run.From, SchemaHash: s.CurrentList(), SchemaAsOf: s.SchemaAsOf,
		Ranges: wireRanges(c.allRanges(run.ID), run.Phase, maxWanted)}
	if cfg := c.d.config[run.Stream]; cfg != nil {
		f.Properties, f.Exclude, f.Associations = cfg.Properties, cfg.Exclude, cfg.Associations
		f.History, f.Volatile, f.Parents = cfg.History, cfg.Volatile, cfg.Parents
	}
	f.ByList = c.d.listFrom(run, s)
	f.Count = c.d.countDue(run, s, c.now)
	if run.Phase < askPhase {
		f.Notes = s.Notes
	}
	if p := c.d.portals[run.Portal]; p != nil {
		f.Account = p.Account
	}
	return protocol.Command{Type: protocol.FetchCommand, Process: run.Process, Attempt: run.Attempt, Fetch: f}
}
