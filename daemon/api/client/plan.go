package client

// What becomes of a stream or a portal when the configuration is read again, as
// PlannedStream.Change and PlannedPortal.Change have it. One that is refused may
// not become what it is to be, and the whole configuration is refused with it.
const (
	ChangeNew     = "new"
	ChangeRemoved = "removed"
	ChangeChanged = "changed"
	ChangeRefused = "refused"
)

// How far PlannedWork.Requests holds, as PlannedWork.Bound has it.
const (
	AtLeast = "at least"
	AtMost  = "at most"
)

// Plan is what reading the configuration again does. What stays as it is, is
// not in it.
type Plan struct {
	// Config is the file that was read, "" where there is none.
	Config  string          `json:"config"`
	Portals []PlannedPortal `json:"portals"`
	Streams []PlannedStream `json:"streams"`
	// Settings are those of other blocks that a reload takes over: notify, user,
	// worker and the listeners' certificates. No secret shows.
	Settings []string `json:"settings"`
	// Restart are settings that only a restart takes over, as "old: new".
	Restart []string `json:"restart"`
}

// Empty tells whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Portals)+len(p.Streams)+len(p.Settings)+len(p.Restart) == 0 }

// Refused tells whether a reload would be refused.
func (p *Plan) Refused() bool {
	for i := range p.Streams {
		if p.Streams[i].Change == ChangeRefused {
			return true
		}
	}
	return false
}

// PlannedStream is what becomes of a stream.
type PlannedStream struct {
	Stream string `json:"stream"`
	Portal string `json:"portal"`
	Object string `json:"object"`
	// Change is one of the Change constants.
	Change string `json:"change"`
	// Work is what has to be read for it, Settings are those that take effect at
	// once, Notes say what else follows.
	Work     []PlannedWork `json:"work"`
	Settings []string      `json:"settings"`
	Notes    []string      `json:"notes"`
}

// PlannedWork is a walk that a change makes necessary.
type PlannedWork struct {
	// Work is the kind of run: backfill, reconcile, fill, associations or history.
	Work   string `json:"work"`
	Reason string `json:"reason"`
	// Records are those that the cost is reckoned with, Requests what it is.
	// Both are null where nobody has counted. Bound is AtLeast or AtMost where
	// it depends on what is found there.
	Records  *int64 `json:"records"`
	Requests *int64 `json:"requests"`
	Bound    string `json:"bound,omitempty"`
	// Seconds is how long they take at the portal's full speed, OfDay which share
	// of its daily limit they are; null where that is not known.
	Seconds *float64 `json:"seconds"`
	OfDay   *float64 `json:"of_day"`
	// Days is how many days it takes where its share of the daily limit is less
	// than it needs, null where one day will do or nothing bounds it.
	Days *float64 `json:"days"`
}

// Cost reckons Seconds, OfDay and Days from Requests. share is the part of the
// daily limit that work of the kind may use, 0 for all that remains.
func (w *PlannedWork) Cost(rate float64, daily int64, share float64) {
	if w.Requests == nil {
		return
	}
	if rate > 0 {
		s := float64(*w.Requests) / rate
		w.Seconds = &s
	}
	if daily > 0 {
		part := float64(*w.Requests) / float64(daily)
		w.OfDay = &part
		if days := part / share; share > 0 && days > 1 {
			w.Days = &days
		}
	}
}

// PlannedPortal is what becomes of a portal.
type PlannedPortal struct {
	Portal string `json:"portal"`
	// Change is one of the Change constants.
	Change   string   `json:"change"`
	Settings []string `json:"settings"`
}
