package dispatch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// ChangeKind says what becomes of a stream.
type ChangeKind string

// The kinds. A refused stream is one that may not become what it is to be; the
// whole configuration is refused with it.
const (
	ChangeNew     ChangeKind = "new"
	ChangeRemoved ChangeKind = "removed"
	ChangeKept    ChangeKind = "kept"
	ChangeRefused ChangeKind = "refused"
)

// Cause is which setting makes work.
type Cause string

// The causes.
const (
	CauseNew          Cause = "new"
	CauseProperties   Cause = "properties"
	CauseAssociations Cause = "associations"
	CauseHistory      Cause = "history"
	CauseStart        Cause = "start_date"
)

// Work is what has to be read since the configuration says something else.
type Work struct {
	Kind   stream.Kind
	Cause  Cause
	Reason string
	// New is how many properties a Fill brings.
	New int
}

// Change is what a configuration makes of a stream.
type Change struct {
	Stream, Portal, Object string
	Kind                   ChangeKind
	Works                  []Work
	// Notes say what follows besides reading.
	Notes []string
	// Size is what the works are reckoned with, as far as the store knows it.
	Size budget.Stream
	// OfCRM tells whether the stream's records are those of the CRM.
	OfCRM bool
}

// Plan says what Reload would make of each stream, by name, and does nothing.
func (d *Dispatcher) Plan(config []StreamConfig) []Change {
	return d.changes(prepared(config))
}

// changes says what a configuration makes of each stream. It is the one place
// where that is decided: Plan shows it, and Reload does it.
func (d *Dispatcher) changes(next map[string]*StreamConfig) []Change {
	names := maps.Clone(next)
	maps.Copy(names, d.config)
	out := make([]Change, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		cfg := next[name]
		k := knownStream{was: d.streams[name], before: d.config[name], walk: d.runOf(name, true)}
		if schema, err := d.store.Schema(name); err == nil {
			k.defined = definedNames(schema)
		}
		c := changeOf(k, cfg)
		c.Stream = name
		if cfg != nil {
			live := int64(d.store.Live(name))
			c.OfCRM = cfg.ofCRM()
			c.Size = budget.Stream{Name: name, Records: live, Archived: budget.Bin(live), Pairs: len(cfg.Associations), History: len(cfg.History) > 0}
			c.Size.Wide = k.was != nil && k.was.Wide
		}
		out = append(out, c)
	}
	return out
}

// knownStream is what is known of a stream when a configuration comes.
type knownStream struct {
	was     *stream.Stream  // nil where nothing is stored
	before  *StreamConfig   // nil where it was not configured
	defined map[string]bool // HubSpot's properties, nil before they were read
	walk    *stream.Run     // that goes on, nil for none
}

// begun tells whether something of the stream may have been read.
func (k knownStream) begun() bool {
	return k.was.Backfilled || k.was.Cursor != 0 || k.was.Unfinished != "" || k.walk != nil
}

// changeOf says what becomes of a stream: cfg is nil where the configuration
// does not have it any more.
func changeOf(k knownStream, cfg *StreamConfig) Change {
	if cfg == nil {
		c := Change{Portal: k.before.Portal, Object: k.before.Object, Kind: ChangeRemoved, Notes: []string{"it stops"}}
		if k.was != nil && k.begun() {
			c.Notes = []string{"it stops; what is stored stays, and goes on from there when the stream comes back"}
		}
		return c
	}
	c := Change{Portal: cfg.Portal, Object: cfg.Object, Kind: ChangeKept}
	was := k.was
	switch {
	case was == nil:
		c.Kind, c.Works = ChangeNew, []Work{{Kind: stream.Backfill, Cause: CauseNew, Reason: "nothing of it is stored"}}
		c.waits(cfg, cfg.Autostart)
		return c
	case was.Portal != cfg.Portal || was.Object != cfg.Object:
		c.Kind, c.Notes = ChangeRefused, []string{movedAway(was, cfg)}
		return c
	case k.before == nil:
		c.Kind = ChangeNew
		c.Notes = append(c.Notes, "it was copied before, and goes on from where it stood")
	}
	c.lists(k, cfg)
	c.links(k, cfg)
	c.pasts(k, cfg)
	c.starts(k, cfg)
	active := was.Active
	if was.FileActive != cfg.Autostart {
		active = cfg.Autostart
	}
	if len(c.Works) > 0 || k.before == nil {
		c.waits(cfg, active)
	}
	return c
}

// movedAway says why a stream may not become another.
func movedAway(was *stream.Stream, cfg *StreamConfig) string {
	return fmt.Sprintf("stream %s holds %s of portal %s and is now %s of portal %s: give the new one another name",
		was.Name, was.Object, was.Portal, cfg.Object, cfg.Portal)
}

// waits says what keeps a stream's works from beginning.
func (c *Change) waits(cfg *StreamConfig, active bool) {
	switch {
	case cfg.Problem != nil:
		c.Notes = append(c.Notes, "it waits: "+cfg.Problem.Error())
	case !active:
		c.Notes = append(c.Notes, "it is stopped: nothing is read before it is started")
	}
}

// lists says what another choice of properties makes necessary, by the
// definitions that were read last.
func (c *Change) lists(k knownStream, cfg *StreamConfig) {
	if k.defined == nil || !cfg.ofCRM() {
		return
	}
	now := chosenNames(cfg, k.defined)
	if !relisted(k.was, protocol.ListHash(now)) {
		return
	}
	reason := "the properties are others than those that records were read with"
	was, sure := listInUse(k.was, k.defined)
	if !sure && k.before != nil {
		was = chosenNames(k.before, k.defined)
	}
	if sure || k.before != nil {
		more, less := without(now, was), without(was, now)
		if sure && len(more) > 0 && len(less) == 0 {
			c.Works = append(c.Works, Work{Kind: stream.Fill, Cause: CauseProperties, New: len(more), Reason: "properties: with " + few(more) +
				"; its next run finds that out, then the records that have a value are searched for and read, or the whole list where most have one"})
			return
		}
		var parts []string
		if len(more) > 0 {
			parts = append(parts, "with "+few(more))
		}
		if len(less) > 0 {
			parts = append(parts, "without "+few(less))
		}
		if len(parts) > 0 {
			reason = "properties: " + strings.Join(parts, ", ")
		}
	}
	c.Works = append(c.Works, Work{Kind: stream.Reconcile, Cause: CauseProperties, Reason: reason + "; its next run finds that out, then every record is held against HubSpot, and read again where it differs"})
}

// relisted tells whether records have to be read again since the list of
// properties is another: a new one may have values.
func relisted(s *stream.Stream, list string) bool {
	return s.CurrentList() != "" && s.CurrentList() != list && s.Backfilled
}

// chosenNames are the properties that a configuration asks for, sorted.
func chosenNames(cfg *StreamConfig, defined map[string]bool) []string {
	var out []string
	for name := range defined {
		if chosen(cfg, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// without are those of a list that another has not.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { _, ok := slices.BinarySearch(other, s); return ok })
}

// few names the first of a list, and how many more there are.
func few(names []string) string {
	const shown = 5
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

// links says what other associations make necessary.
func (c *Change) links(k knownStream, cfg *StreamConfig) {
	switch {
	case !cfg.ofCRM() || slices.Equal(k.was.Linked, cfg.Associations):
	case len(cfg.Associations) == 0:
		c.Notes = append(c.Notes, "associations are not read any more; those that are stored stay")
	case k.walk != nil && slices.Equal(k.walk.Linked, cfg.Associations), !k.begun():
		// They are being read, or come with the first load.
	default:
		c.Works = append(c.Works, Work{Kind: stream.Associations, Cause: CauseAssociations, Reason: "associations with " + strings.Join(cfg.Associations, ", ")})
	}
}

// pasts says what another choice of history makes necessary.
func (c *Change) pasts(k knownStream, cfg *StreamConfig) {
	choice := cfg.history()
	switch {
	case choice.Equal(k.was.History):
	case choice == nil:
		c.Notes = append(c.Notes, "history is neither read nor shown any more")
	case choice.Within(k.was.History):
		c.Notes = append(c.Notes, "history of fewer properties is shown; nothing is read for it")
	case !k.begun(): // it is read after the first load
	default:
		c.Works = append(c.Works, Work{Kind: stream.History, Cause: CauseHistory, Reason: "the history of " + few(choice.Of)})
	}
}

// starts says what another start date makes necessary.
func (c *Change) starts(k knownStream, cfg *StreamConfig) {
	switch {
	case cfg.StartDate > k.was.Since:
		if k.begun() {
			c.Notes = append(c.Notes, "start_date is later: nothing is read for it; what is stored stays and is kept fresh")
		}
	case cfg.StartDate < k.was.Since && k.begun():
		from := "all of it"
		if cfg.StartDate != 0 {
			from = "what was modified since " + time.UnixMilli(cfg.StartDate).UTC().Format(time.DateOnly)
		}
		c.Works = append(c.Works, Work{Kind: stream.Reconcile, Cause: CauseStart, Reason: "start_date is earlier: " + from + " is read that is not stored"})
	}
}

// make does what a change of a stream that stays makes necessary; the walks
// begin with the next tick. Another list of properties is found out by the
// stream's next run: see define.
func (w Work) make(s *stream.Stream) {
	switch w.Cause {
	case CauseAssociations:
		s.AssociatedAt = time.Time{}
	case CauseStart:
		s.ReconcileNow = true
	case CauseNew, CauseProperties, CauseHistory: // for the last see chooseHistory
	}
}
