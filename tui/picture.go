package tui

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Rates are kept for a quarter of an hour, in steps.
const (
	rateStep  = 10 * time.Second
	rateSteps = 90
	rateNow   = 2  // steps that "now" is made of
	mostRuns  = 64 // whose end nobody saw
)

// rates counts records by the step of time in which they came.
type rates struct {
	counts [rateSteps]float64
	newest int64 // the step that was counted in last
}

func (r *rates) add(at time.Time, n float64) {
	step := at.UnixNano() / int64(rateStep)
	switch {
	case step > r.newest:
		for s := max(r.newest+1, step-rateSteps+1); s <= step; s++ {
			r.counts[s%rateSteps] = 0
		}
		r.newest = step
	case step <= r.newest-rateSteps:
		return
	}
	r.counts[step%rateSteps] += n
}

// values are records a second by step, the oldest first.
func (r *rates) values(now time.Time) []float64 {
	out := make([]float64, rateSteps)
	step := now.UnixNano() / int64(rateStep)
	for i := range out {
		if s := step - rateSteps + 1 + int64(i); s <= r.newest && s > r.newest-rateSteps {
			out[i] = r.counts[s%rateSteps] / rateStep.Seconds()
		}
	}
	return out
}

// current is records a second over the last steps.
func (r *rates) current(now time.Time) float64 {
	sum, step := 0.0, now.UnixNano()/int64(rateStep)
	for s := step - rateNow + 1; s <= step; s++ {
		if s <= r.newest && s > r.newest-rateSteps {
			sum += r.counts[s%rateSteps]
		}
	}
	return sum / (rateStep.Seconds()*(rateNow-1) + float64(now.UnixNano()%int64(rateStep))/1e9)
}

// row is a stream as the dashboard knows it.
type row struct {
	client.Status
	at      time.Time // when it was said, for what grows with time
	every   time.Duration
	rates   rates
	since   time.Time // what runs had before is no rate
	counted map[string]counted
	search  string
}

// counted is what is known of a run's records.
type counted struct {
	records uint64
	open    bool
}

// lag is the time since the cursor, and whether there is one.
func (r *row) lag(now time.Time) (time.Duration, bool) {
	if r.LagSeconds == nil {
		return 0, false
	}
	return time.Duration(*r.LagSeconds)*time.Second + max(now.Sub(r.at), 0), true
}

// late tells a stream that is behind its interval by more than a run may take.
func (r *row) late(now time.Time) bool {
	lag, ok := r.lag(now)
	return ok && r.every > 0 && r.State != client.StateStopped && lag > max(2*r.every, r.every+30*time.Second)
}

// set takes over what was said of the stream; count tells whether records that
// are new in its runs came just now.
func (r *row) set(s client.Status, at time.Time, count bool) {
	r.Status, r.at = s, at
	r.every = span(cmp.Or(s.EffectiveInterval, s.Interval))
	parts := []string{r.Name, r.Portal, r.Object, r.State}
	if r.Error != nil {
		parts = append(parts, r.Error.Title, r.Error.Detail)
	}
	r.search = strings.ToLower(strings.Join(parts, " "))
	r.count(at, count)
}

// count puts into the rates what the runs have got since they were last seen. A
// walk is out of sight while an incremental run goes on, and comes back.
func (r *row) count(at time.Time, count bool) {
	if !count || len(r.counted) > mostRuns {
		r.since, r.counted = at, nil
	}
	next := make(map[string]counted, 4)
	for id, c := range r.counted {
		if c.open {
			next[id] = c
		}
	}
	for _, run := range []*client.Run{r.Run, r.LastRun} {
		if run == nil {
			continue
		}
		before, known := r.counted[run.ID]
		if run.Records > before.records && (known || !run.Started.Before(r.since)) {
			r.rates.add(at, float64(run.Records-before.records))
		}
		next[run.ID] = counted{run.Records, run.Running()}
	}
	r.counted = next
}

func cleanStatus(s client.Status) client.Status {
	s.Name, s.Portal, s.Object, s.State = clean(s.Name), clean(s.Portal), clean(s.Object), clean(s.State)
	s.Interval, s.EffectiveInterval, s.Cron = clean(s.Interval), clean(s.EffectiveInterval), clean(s.Cron)
	s.EffectiveReason, s.Error = clean(s.EffectiveReason), cleanProblem(s.Error)
	s.Run, s.LastRun = cleanRun(s.Run), cleanRun(s.LastRun)
	return s
}

func cleanRun(r *client.Run) *client.Run {
	if r == nil {
		return nil
	}
	c := *r
	c.ID, c.Kind, c.State, c.Stream, c.Error = clean(r.ID), clean(r.Kind), clean(r.State), clean(r.Stream), cleanProblem(r.Error)
	return &c
}

func cleanProblem(p *client.Problem) *client.Problem {
	if p == nil {
		return nil
	}
	c := *p
	c.Title, c.Detail, c.Hint = clean(p.Title), clean(p.Detail), clean(p.Hint)
	return &c
}

// progress says how far a run is: percent only where the whole is known.
func (r *row) progress() string {
	run := r.Run
	if run == nil {
		return ""
	}
	if run.Kind == "reconcile" && r.Records > 0 {
		var report struct {
			Checked uint64 `json:"checked"`
		}
		if json.Unmarshal(run.Report, &report) == nil && report.Checked > 0 {
			share := min(float64(report.Checked)/float64(r.Records), 0.99)
			return bar(share, 6) + right(thousands(uint64(share*100)), 3) + "%"
		}
	}
	return thousands(run.Pages) + " pg"
}

// picture is what the dashboard knows of the daemon.
type picture struct {
	daemon  client.Daemon
	streams map[string]*row
	workers []client.Worker
	portals []client.Portal

	destinations []client.Destination
	figures      *client.Figures // nil before they were told
	lines        lineRing
	ready        bool // a whole picture has come
}

func newPicture() *picture { return &picture{streams: map[string]*row{}} }

// whole replaces everything by what the routes said; count tells whether the
// connection held since what was known before.
func (p *picture) whole(s snapshot, count bool) {
	there := make(map[string]bool, len(s.streams))
	for _, st := range s.streams {
		there[clean(st.Name)] = true
		p.stream(st, s.at, p.ready && count)
	}
	for name := range p.streams {
		if !there[name] {
			delete(p.streams, name)
		}
	}
	p.workers, p.portals, p.destinations = nil, nil, nil
	for _, w := range s.workers {
		p.worker(w)
	}
	for _, x := range s.portals {
		p.portal(x)
	}
	for _, d := range s.destinations {
		p.destination(d)
	}
	if s.figures != nil {
		p.figures = s.figures
	}
	if !p.ready {
		p.history(s.runs, s.at)
	}
	p.ready = true
}

// history fills the rates of the last quarter of an hour from runs that have
// ended, evenly over the time that each took.
func (p *picture) history(runs []client.Run, now time.Time) {
	for i := len(runs) - 1; i >= 0; i-- { // the oldest first
		run := runs[i]
		r := p.streams[run.Stream]
		if r == nil || run.Ended == nil || run.Records == 0 || now.Sub(*run.Ended) > rateStep*rateSteps {
			continue
		}
		steps := int(run.Ended.Sub(run.Started)/rateStep) + 1
		for s := range min(steps, rateSteps) {
			r.rates.add(run.Ended.Add(-time.Duration(s)*rateStep), float64(run.Records)/float64(steps))
		}
	}
}

func (p *picture) stream(s client.Status, at time.Time, count bool) {
	s = cleanStatus(s)
	r := p.streams[s.Name]
	if r == nil {
		r = &row{}
		p.streams[s.Name] = r
	}
	r.set(s, at, count)
}

func (p *picture) worker(w client.Worker) {
	w.ID, w.Version, w.State = clean(w.ID), clean(w.Version), clean(w.State)
	p.workers = put(p.workers, w, func(w client.Worker) string { return w.ID })
}

func (p *picture) portal(x client.Portal) {
	x.Name, x.TimeZone, x.Error = clean(x.Name), clean(x.TimeZone), cleanProblem(x.Error)
	if x.Throttled != nil {
		t := *x.Throttled
		t.Reason = clean(t.Reason)
		x.Throttled = &t
	}
	if x.Journal != nil {
		j := *x.Journal
		j.Error = cleanProblem(j.Error)
		x.Journal = &j
	}
	p.portals = put(p.portals, x, func(x client.Portal) string { return x.Name })
}

// put replaces a thing in a list that is sorted by name, or adds it.
func put[T any](list []T, x T, name func(T) string) []T {
	i, found := slices.BinarySearchFunc(list, name(x), func(a T, n string) int { return strings.Compare(name(a), n) })
	if found {
		list[i] = x
		return list
	}
	return slices.Insert(list, i, x)
}

// counts are the streams by state.
func (p *picture) counts() map[string]int {
	out := map[string]int{}
	for _, r := range p.streams {
		out[r.State]++
	}
	return out
}

// callsToday is what a stream has asked HubSpot for today.
func (p *picture) callsToday(r *row) uint64 {
	i, found := slices.BinarySearchFunc(p.portals, r.Portal, func(x client.Portal, n string) int { return strings.Compare(x.Name, n) })
	if !found {
		return 0
	}
	sum := uint64(0)
	for _, n := range p.portals[i].UsedByStream[r.Name] {
		sum += n
	}
	return sum
}
