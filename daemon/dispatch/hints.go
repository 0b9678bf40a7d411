package dispatch

import (
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// HubSpot says at once what has changed, but not to everybody, not in order, and
// not for certain. So what it says names records and nothing else: they are
// noted in the ledger before HubSpot is answered, and read at once in a run of
// their own, or with the incremental run that comes first. Interval, settle
// passes, sweeps and reconcile stay as they are.

const (
	// hintsAtOnce is how many hints one run reads: what one request takes, and no
	// more than absence may end in any case.
	hintsAtOnce = neverBraked
	// maxHints bounds those that wait. More than these are an import, which
	// search reads sooner than names do.
	maxHints = 2000
	// catchUpAfter is how long after its cause a stream is asked for all that has
	// changed: a search does not say yet what has changed in its last seconds.
	catchUpAfter = 5 * time.Second
)

// Hint is a record that HubSpot says has changed.
type Hint struct {
	// Object is HubSpot's number of the object's type, such as "0-1", or one of
	// the names that the catalogue knows.
	Object string
	Record string
	// Associations says that the record's associations have changed.
	Associations bool
}

// Hint notes records of a portal's account that have changed, and has them read
// at once. Hints for what no stream copies, or a stopped one, are nothing; taken
// counts the others. Where it returns an error nothing was noted.
func (d *Dispatcher) Hint(now time.Time, portal string, hints []Hint) (taken int, outs []Out, err error) {
	if d.stopping {
		return 0, nil, ErrStopped
	}
	c := d.begin(now)
	if taken, err = c.hint(portal, hints, nil); err != nil {
		return 0, nil, c.abandon(err)
	}
	if c.empty() {
		return taken, nil, nil
	}
	if err := c.assign(); err != nil {
		return 0, nil, c.abandon(err)
	}
	outs, err = c.commit()
	return taken, outs, err
}

// hint notes hints and has them read. A stream that whole says yes to falls due,
// so that it asks for all that has changed, whether it is hinted at or not; nil
// says yes to none.
func (c *change) hint(portal string, hints []Hint, whole func(*StreamConfig) bool) (taken int, err error) {
	d := c.d
	if hints, err = c.byName(portal, hints); err != nil {
		return 0, err
	}
	for _, name := range d.Names() {
		s, cfg := d.streams[name], d.config[name]
		if s == nil || s.Portal != portal || !s.Active || cfg.Problem != nil || !cfg.ofCRM() || !d.mayRun(s) {
			continue
		}
		mine, all := false, whole != nil && whole(cfg)
		for _, h := range hints {
			if names(cfg, h.Object) && stream.CheckID(h.Record) == "" {
				taken, mine = taken+1, true
				c.noteHint(c.stream(name), h)
			}
		}
		if all {
			c.catchUp(c.stream(name))
		}
		if !mine || s.Error != nil && s.Error.Blocked || d.retryAt(s, c.now).After(c.now) || d.blocks(c.now)[portal].problem != nil {
			continue // none, or they wait until the stream can be read
		}
		if err := c.readHints(name); err != nil {
			return 0, err
		}
	}
	return taken, nil
}

// Account is HubSpot's number of a portal's account, 0 before anything was read
// of it.
func (d *Dispatcher) Account(portal string) int64 {
	if p := d.portals[portal]; p != nil {
		return p.Account
	}
	return 0
}

// names tells whether an object's name or number is that of a stream.
func names(cfg *StreamConfig, object string) bool {
	if object == cfg.Object || object != "" && object == cfg.row.TypeID {
		return true
	}
	row, known := catalogue.Lookup(object)
	return known && !row.Custom && row.Name == cfg.row.Name
}

// catchUp has a stream asked for all that has changed, whatever its schedule says.
// What is due already is not put off for another cause, or causes that follow each
// other would do so for ever: it is due once more. Associations change without their records: all of them are read again, within
// missingRetry and no sooner, since one cause may follow another.
func (c *change) catchUp(s *stream.Stream) {
	at := c.now.Add(catchUpAfter).Round(0)
	if s.DueAt.IsZero() {
		s.DueAt = at
	} else {
		s.DueAgain = at
	}
	if len(c.d.linkedWith(s.Name)) == 0 {
		return
	}
	soon := c.now.Add(missingRetry - c.d.config[s.Name].AssociateEvery).Round(0)
	if s.AssociatedAt.After(soon) {
		s.AssociatedAt = soon
	}
}

// noteHint puts a hint with those that wait. Where there are too many, all that
// has changed is asked for instead.
func (c *change) noteHint(s *stream.Stream, h Hint) {
	links := h.Associations && len(c.d.linkedWith(s.Name)) > 0
	if i := slices.IndexFunc(s.Hints, func(l stream.Listed) bool { return l.ID == h.Record }); i >= 0 {
		s.Hints[i].Parts = s.Hints[i].Parts || links
		return
	}
	if len(s.Hints) >= maxHints {
		c.catchUp(s)
		return
	}
	s.Hints = append(s.Hints, stream.Listed{ID: h.Record, Parts: links, Past: c.d.historyOf(s.Name) != nil})
}

// readHints makes a run for the hints of a stream, unless one of its kind or an
// incremental one goes on: it comes after that.
func (c *change) readHints(name string) error {
	s := c.d.streams[name]
	if own := c.streams[name]; own != nil {
		s = own
	}
	if len(s.Hints) == 0 || c.startsRun(name) || c.d.runOf(name, false) != nil || c.d.unpaid(s, stream.Hinted, c.now) {
		return nil
	}
	own := c.stream(name)
	_, err := c.newRun(own, stream.Hinted, c.hinted(own))
	return err
}

// startsRun tells whether this change has made a run of a stream that is no walk.
func (c *change) startsRun(name string) bool {
	for _, run := range c.runs {
		if run.Stream == name && run.State == stream.Running && !run.Kind.Walk() {
			return true
		}
	}
	return false
}

// hinted takes the hints that wait longest into a range that reads them, nil
// where none wait. They may be gone.
func (c *change) hinted(s *stream.Stream) *stream.Range {
	n := min(len(s.Hints), hintsAtOnce)
	if n == 0 {
		return nil
	}
	g := &stream.Range{Kind: stream.IdsRange, Last: true, Ask: true, Hinted: true, Want: slices.Clone(s.Hints[:n])}
	s.Hints = slices.Clone(s.Hints[n:])
	return g
}

// keepHints puts back the hints that a run that did not end was still to read. A
// stream that fails again and again lets them go: it may be one of them that it
// fails of, and nothing depends on them.
func (c *change) keepHints(s *stream.Stream, run *stream.Run) {
	if run.Error != nil && !run.Error.Blocked && s.Fails > 0 {
		return
	}
	for _, g := range c.allRanges(run.ID) {
		if !g.Hinted || g.Ended {
			continue
		}
		for _, w := range g.Want {
			c.noteHint(s, Hint{Record: w.ID, Associations: w.Parts})
		}
	}
}
