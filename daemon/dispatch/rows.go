package dispatch

import (
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// The streams outside the CRM's contract are read whole, by spans of time, or
// from their newest row back. Each of their listings has digests, and is
// followed by what is wanted of it. What a whole reading lacks is a candidate;
// the worker reads what it belonged to once more, and what is missing twice has
// gone.

// eventsBegin is where events are read from: HubSpot is not older, and refuses
// times near 0.
func eventsBegin() time.Time { return time.Date(2006, 1, 1, 0, 0, 0, 0, time.UTC) }

// fewRows is how many a stream may lose when nothing at all is listed of it.
const fewRows = 10

// configure takes over what the configuration says of the streams.
func (d *Dispatcher) configure(config []StreamConfig) { d.config = prepared(config) }

// prepared adds what the catalogue has of the objects.
func prepared(config []StreamConfig) map[string]*StreamConfig {
	out := make(map[string]*StreamConfig, len(config))
	for i := range config {
		// What is unknown is an object of the CRM: the worker says what is wrong.
		config[i].row, _ = catalogue.Lookup(config[i].Object)
		if !config[i].ofCRM() {
			config[i].Associations, config[i].History = nil, nil // set for all streams, and nothing to these
		}
		out[config[i].Name] = &config[i]
	}
	return out
}

// ofCRM tells whether a stream shares the contract of the CRM's objects.
func (cfg *StreamConfig) ofCRM() bool { return cfg.row.Strategy == catalogue.StrategyObjects }

// reconciles tells whether everything is held against HubSpot now and then. A
// stream that is read whole is in every run, and events do not end.
func (cfg *StreamConfig) reconciles() bool {
	return cfg.ofCRM() || cfg.row.Endpoint.Parent.Changed != nil
}

// settles tells whether what a stream has read is read again later.
func (cfg *StreamConfig) settles() bool {
	return cfg.ofCRM() || cfg.row.Strategy == catalogue.StrategyWindowed
}

func (d *Dispatcher) ofCRM(s *stream.Stream) bool {
	cfg := d.config[s.Name]
	return cfg == nil || cfg.ofCRM()
}

// follows tells whether a stream has incremental runs by now. Those of the CRM
// begin beside the first backfill; others would read the same twice.
func (d *Dispatcher) follows(s *stream.Stream) bool {
	return s.Cursor != 0 && (s.Backfilled || d.ofCRM(s))
}

// ofRows tells whether a range reads a stream outside the CRM's contract.
func ofRows(kind stream.RangeKind) bool {
	return kind == stream.WholeRange || kind == stream.EventsRange || kind == stream.LogRange
}

// rowRanges are the ranges of a run that reads all of such a stream.
func (c *change) rowRanges(s *stream.Stream) []*stream.Range {
	s.LastStarted = c.now.Round(0)
	cfg := c.d.config[s.Name]
	switch cfg.row.Strategy {
	case catalogue.StrategyWindowed:
		return []*stream.Range{{Kind: stream.EventsRange, Newest: true, Lo: max(eventsBegin().UnixMilli(), cfg.StartDate)}}
	case catalogue.StrategyLog:
		return []*stream.Range{{Kind: stream.LogRange}}
	}
	return []*stream.Range{{Kind: stream.WholeRange}}
}

// rowRun makes the incremental run of such a stream.
func (c *change) rowRun(s *stream.Stream) (*stream.Run, error) {
	cfg := c.d.config[s.Name]
	ranges := c.rowRanges(s)
	var settle []stream.Window
	if cfg.row.Strategy == catalogue.StrategyWindowed {
		ranges[0].Lo = max(ranges[0].Lo, s.Cursor-cfg.Tail.Milliseconds())
		settle = dueWindows(s, cfg.Settle, c.now)
		ranges = append(ranges, settling(stream.EventsRange, settle)...)
	}
	// Rows are looked for in every run; only what a person has to act on stays.
	s.Open = slices.DeleteFunc(s.Open, func(o stream.OpenID) bool { return !o.TooLarge && !ofPair(o) })
	run, err := c.newRun(s, stream.Incremental, ranges...)
	if err != nil {
		return nil, err
	}
	run.Settle, run.From, run.Pass = settle, s.Cursor, passOf(settle)
	if ranges[0].Kind == stream.WholeRange {
		run.Report = &stream.Report{}
	}
	return run, nil
}

// rowsRead notes what a run that has ended says of such a stream.
func (c *change) rowsRead(s *stream.Stream, run *stream.Run) {
	if c.d.ofCRM(s) || run.Kind == stream.OneRecord || run.Kind == stream.Hinted {
		return
	}
	switch {
	case run.Braked:
		s.Brake = c.brakedBy(run, s)
		return
	case run.Report == nil || run.Report.Disorder:
	case run.Kind == stream.Incremental && c.d.config[s.Name].reconciles():
		// It has not looked at all of them.
	default:
		s.Brake = nil
	}
	// What this run has not heard again is refused no more.
	s.Open = slices.DeleteFunc(s.Open, func(o stream.OpenID) bool { return ofPair(o) && o.Version != run.Started.UnixNano() })
	for _, g := range c.allRanges(run.ID) {
		if g.Notes != "" {
			s.Notes = g.Notes
		}
	}
}

// ofPair tells whether what is open is no row, but a pair of objects that
// HubSpot refuses: the beginning of its rows' ids. Its version is when the run
// began that met it last.
func ofPair(o stream.OpenID) bool { return strings.HasSuffix(o.ID, "/") }

// refused notes the pairs that a run could not read at all.
func (c *change) refused(s *stream.Stream, run *stream.Run, open []protocol.OpenID) {
	for _, o := range open {
		s.Open = slices.DeleteFunc(s.Open, func(x stream.OpenID) bool { return x.ID == o.ID })
		s.Open = append(s.Open, stream.OpenID{ID: o.ID, Version: run.Started.UnixNano(), Reason: o.Reason})
	}
}

// stretch is a part of the order of ids: above after, up to and with upTo ("" for the last).
type stretch struct{ after, upTo string }

// absentRows makes candidates of the rows that the store has where a listing is
// complete, and the listing has not.
func (c *change) absentRows(p *protocol.Page, run *stream.Run, g *stream.Range, s *stream.Stream) error {
	if g.Disorder || run.Report == nil {
		return nil
	}
	listed, reached := make(map[string]bool, len(p.Listing)), p.From
	for _, l := range p.Listing {
		if reached != "" && protocol.CompareIDs(l.ID, reached) <= 0 {
			g.Disorder, run.Report.Disorder = true, true
			return nil
		}
		listed[l.ID], reached = true, l.ID
	}
	if !p.Last && (p.To == "" || reached != "" && protocol.CompareIDs(reached, p.To) > 0) {
		g.Disorder, run.Report.Disorder = true, true
		return nil
	}
	// An attempt before this one may have been told already.
	whole := stretch{after: p.From, upTo: p.To}
	if g.Reached != "" && protocol.CompareIDs(g.Reached, whole.after) > 0 {
		whole.after = g.Reached
	}
	if p.Last {
		whole.upTo = protocol.AfterAll
	}
	g.Reached = whole.upTo
	for _, part := range c.judged(s, whole, p.Except) {
		if run.Braked {
			break
		}
		err := c.missing(run, s, part.after, part.upTo, func(h *stream.Head) bool { return !h.State.Bare() && !listed[h.ID] })
		if err != nil {
			return err
		}
	}
	r := run.Report
	if p.Last && r.Checked == 0 && r.Candidates > fewRows && !run.Accept && c.d.config[s.Name].row.Strategy == catalogue.StrategyWhole {
		run.Braked = true // nothing at all is more likely a mistake
	}
	return nil
}

// judged are the stretches of ids for which a listing says what is absent: what
// it leaves out is not among them, nor what belongs to objects that are not read.
func (c *change) judged(s *stream.Stream, whole stretch, except []string) []stretch {
	parts := []stretch{whole}
	if parents := c.d.config[s.Name].Parents; len(parents) > 0 {
		parts = nil
		for _, name := range slices.Sorted(slices.Values(parents)) {
			parts = append(parts, within(whole, beginning(name+"/"))...)
		}
	}
	for _, prefix := range except {
		if prefix == "" {
			return nil
		}
		var left []stretch
		not := beginning(prefix)
		for _, p := range parts {
			left = append(append(left, within(p, stretch{"", not.after})...), within(p, stretch{not.upTo, protocol.AfterAll})...)
		}
		parts = left
	}
	return parts
}

// beginning is the stretch of the ids that begin with a prefix.
func beginning(prefix string) stretch {
	return stretch{after: strings.TrimSuffix(prefix, "/") + "/", upTo: prefix + protocol.AfterAll}
}

// within is what two stretches share: one stretch, or none.
func within(a, b stretch) []stretch {
	if protocol.CompareIDs(b.after, a.after) > 0 && b.after != "" || a.after == "" {
		a.after = b.after
	}
	if protocol.CompareIDs(b.upTo, a.upTo) < 0 {
		a.upTo = b.upTo
	}
	if a.after != "" && protocol.CompareIDs(a.after, a.upTo) >= 0 {
		return nil
	}
	return []stretch{a}
}
