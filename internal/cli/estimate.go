package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/schedule"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// estimateTime bounds what is asked of HubSpot while a person waits for an
// estimate, a plan or an explanation: one that cannot be reached is to be told.
const estimateTime = time.Minute

// associationsEvery is how often all associations are read.
const associationsEvery = 24 * time.Hour

// portalCost is what a portal's streams cost, without what could not be asked for.
type portalCost struct {
	Portal string `json:"portal"`
	*portalLimits
	Work    []workCost   `json:"work"`
	Streams []streamCost `json:"streams"`
	Error   string       `json:"error,omitempty"`
	// Fresh says by which ways changes come in seconds, and why not by another.
	Fresh []freshWay `json:"fresh,omitempty"`
}

// freshWay is "journal" or "webhook": Ready says that it can be used, Says what
// keeps it from it, or what is to be known.
type freshWay struct {
	Way   string `json:"way"`
	Ready bool   `json:"ready"`
	Says  string `json:"says"`
}

// portalLimits is what a portal says of itself.
type portalLimits struct {
	Account  int64   `json:"account"`
	TimeZone string  `json:"time_zone"`
	Daily    int64   `json:"daily"` // 0: HubSpot names none
	Used     int64   `json:"used_today"`
	Rate     float64 `json:"rate"` // requests a second
}

// workCost is one row of the table.
type workCost struct {
	Work string `json:"work"`
	// Requests and Seconds are of one time, at full speed; PerDay are the
	// requests of a day at the configured interval, 0 for what comes once.
	Requests int64   `json:"requests"`
	Seconds  float64 `json:"seconds"`
	PerDay   int64   `json:"per_day"`
	// OfDay is the share of the daily limit that PerDay, or else Requests, is.
	OfDay float64 `json:"of_day"`
	// Stretched is what the budget makes of the interval, "" for nothing.
	Stretched string `json:"stretched,omitempty"`
}

// streamCost is what HubSpot said of a stream. Without a size it could not be
// asked for: the stream is not empty.
type streamCost struct {
	Stream string `json:"stream"`
	*streamSize
	Error string `json:"error,omitempty"`
}

// streamSize is how much there is of a stream.
type streamSize struct {
	Records    int64 `json:"records"`
	Changed    int64 `json:"changed_in_a_day"`
	Properties int   `json:"properties"`
	Wide       bool  `json:"wide"`
	FirstLoad  int64 `json:"first_load"`
}

// estimate asks each portal for its sizes and prints what they cost. What cannot
// be asked is said in its place.
func (c *command) estimate(ctx context.Context, cfg *config.Config) error {
	log, err := c.logger("warn")
	if err != nil {
		return err
	}
	all, failed := []portalCost{}, false
	for _, x := range cfg.Portals {
		if x.Problem != "" {
			continue // it has been said
		}
		o := portalOptions(x, cfg.DataDir)
		o.Logger = log.Named("hubspot")
		client := hubspot.New(o)
		client.Impatient()
		bound, cancel := context.WithTimeout(ctx, estimateTime)
		e := estimatePortal(bound, client, x, cfg.Streams, measure)
		e.Fresh = freshWays(bound, client, x)
		cancel()
		client.Close()
		failed = failed || e.Error != "" || slices.ContainsFunc(e.Fresh, func(f freshWay) bool { return !f.Ready })
		for _, s := range e.Streams {
			failed = failed || s.Error != ""
		}
		all = append(all, e)
	}
	if err := c.show(map[string]any{"portals": all}, func(w io.Writer) error { return estimateTable(w, all, true) }); err != nil {
		return err
	}
	if failed {
		return errReported
	}
	return nil
}

// freshWays tells what of a portal's journal and webhooks works; nil where it has
// neither.
func freshWays(ctx context.Context, client *hubspot.Client, x config.Portal) (out []freshWay) {
	if x.Journal != nil {
		f := freshWay{Way: "journal", Ready: true, Says: "HubSpot hands it out"}
		if err := client.Journal(journalOf(*x.Journal)).Ready(ctx); err != nil {
			f = freshWay{Way: "journal", Says: inWords(err)}
		}
		out = append(out, f)
	}
	if x.Webhook != nil {
		out = append(out, freshWay{Way: "webhook", Ready: true, Says: "taken at /v1/webhooks/hubspot/" + x.Name + "; whether HubSpot sends any shows when something changes"})
	}
	return out
}

// noFresh is what a portal without either is told.
const noFresh = "no journal and no webhook block: changes come with the interval. Both need an app: a private app has webhooks, one with OAuth both, a service key neither"

// measuring asks for the size of a stream.
type measuring func(context.Context, *hubspot.Client, config.Stream) (worker.Size, error)

func estimatePortal(ctx context.Context, client *hubspot.Client, x config.Portal, streams []config.Stream, measure measuring) portalCost {
	e := portalCost{Portal: x.Name, Work: []workCost{}, Streams: []streamCost{}}
	account, err := client.Account(ctx)
	if err != nil {
		e.Error = inWords(err)
		return e
	}
	e.portalLimits = &portalLimits{Account: account.PortalID, TimeZone: account.TimeZone}
	e.Daily, e.Used, _ = client.DailyUsage(ctx) // an app from outside has no daily limit
	plan := budget.Plan{Reserve: x.DailyReserve}
	for _, s := range streams {
		if s.Portal != x.Name {
			continue
		}
		row := streamCost{Stream: s.Name}
		size, err := measure(ctx, client, s)
		if err != nil {
			row.Error = strings.ReplaceAll(inWords(err), "\n", "; ")
		}
		if err != nil && len(size.Parents) == 0 {
			e.Streams = append(e.Streams, row)
			continue
		}
		b := budget.Stream{Name: s.Name, Records: size.Records, Archived: budget.Bin(size.Records), Wide: size.Wide, Pairs: len(s.Associations),
			History: len(s.History) > 0, Changes: size.Changed, Interval: intervalOf(s), ArchivedEvery: s.ArchivedInterval, ReconcileEvery: s.ReconcileInterval}
		if b.Pairs > 0 {
			b.AssociationsEvery = associationsEvery
		}
		for _, n := range size.Parents {
			o, _ := catalogue.Lookup(s.Object)
			b.Whole += budget.WholeRead(n, o.Endpoint.Inputs)
		}
		plan.Streams = append(plan.Streams, b)
		row.streamSize = &streamSize{Records: size.Records, Changed: size.Changed, Properties: size.Properties, Wide: size.Wide, FirstLoad: budget.FirstLoad(b)}
		if lacks := slices.DeleteFunc(slices.Clone(s.Named), func(name string) bool { return slices.Contains(size.Names, name) }); len(lacks) > 0 {
			row.Error = "HubSpot has no property " + strings.Join(lacks, ", ") + " (mend the stream's properties, exclude or history)"
		}
		e.Streams = append(e.Streams, row)
	}
	u := client.Usage()
	plan.Daily, plan.SearchRate, e.Rate = e.Daily, u.SearchRate, u.BurstRate
	e.Work = workOf(plan, u.BurstRate)
	return e
}

// measure asks for the size of a stream, or of what it is read for.
func measure(ctx context.Context, client *hubspot.Client, s config.Stream) (worker.Size, error) {
	if o, ok := catalogue.Lookup(s.Object); ok && o.Endpoint.Inputs > 0 {
		return worker.MeasureParents(ctx, client, o, s.Parents)
	}
	return worker.Measure(ctx, client, s.Object, s.Properties, s.Exclude)
}

// inWords adds to an error what to do about it.
func inWords(err error) string {
	hint := ""
	if blocked, ok := errors.AsType[*hubspot.Blocked](err); ok {
		hint = blocked.Hint
	} else if p, ok := errors.AsType[*worker.ProblemError](err); ok {
		hint = p.Hint
	}
	if hint == "" {
		return err.Error()
	}
	return err.Error() + " (" + hint + ")"
}

// intervalOf is the time between two runs of a stream.
func intervalOf(s config.Stream) time.Duration {
	if s.Cron == "" {
		return s.Interval
	}
	sched, err := schedule.Cron(s.Cron, s.Timezone)
	if err != nil {
		return 0 // the configuration was checked
	}
	now := time.Now()
	next := sched.Next(now, now)
	return sched.Next(next, next).Sub(next)
}

// workOf is the table of a portal.
func workOf(p budget.Plan, rate float64) []workCost {
	var load, idle, reconcile, associations, archived int64
	still := p
	still.Streams = nil
	for _, s := range p.Streams {
		load += budget.FirstLoad(s)
		reconcile += budget.ReconcileWalk(s)
		associations += budget.AssociationSweep(s)
		archived += budget.ArchivedSweep(s)
		idle++
		s.Changes = 0
		still.Streams = append(still.Streams, s)
	}
	row := func(name string, requests int64, perDay, speed float64) workCost {
		w := workCost{Work: name, Requests: requests, PerDay: int64(perDay)}
		if speed > 0 {
			w.Seconds = float64(requests) / speed
		}
		if p.Daily > 0 {
			w.OfDay = perDay / float64(p.Daily)
			if perDay == 0 {
				w.OfDay = float64(requests) / float64(p.Daily)
			}
		}
		return w
	}
	stretched := func(w workCost, kind budget.Work) workCost {
		if by, why := p.Stretch(kind); why != "" {
			w.Stretched = fmt.Sprintf("%.1f times the interval: %s", by, why)
		}
		return w
	}
	runs := p.PerDay(budget.Incremental)
	day := runs + p.PerDay(budget.Reconcile) + p.PerDay(budget.Associations) + p.PerDay(budget.Archived)
	return []workCost{
		row("first load", load, 0, rate),
		stretched(row("idle run of every stream", idle, still.PerDay(budget.Incremental), p.SearchRate), budget.Incremental),
		row("runs, as much as changed in the last day", int64(runs), runs, rate),
		stretched(row("reconcile", reconcile, p.PerDay(budget.Reconcile), rate), budget.Reconcile),
		stretched(row("association sweep", associations, p.PerDay(budget.Associations), rate), budget.Associations),
		stretched(row("archived sweep", archived, p.PerDay(budget.Archived), rate), budget.Archived),
		row("an ordinary day", int64(day), day, rate),
	}
}

// estimateTable prints what portals cost, and each stream's size where that is
// wanted.
func estimateTable(w io.Writer, all []portalCost, each bool) error {
	for _, e := range all {
		if e.Error != "" {
			fmt.Fprintf(w, "\nportal %s: %s\n", e.Portal, clean(e.Error))
			continue
		}
		limit := "no daily limit"
		if e.Daily > 0 {
			limit = fmt.Sprintf("%d requests a day, %d used today", e.Daily, e.Used)
		}
		fmt.Fprintf(w, "\nportal %s: account %d, %s; %s, %.1f a second\n", e.Portal, e.Account, clean(e.TimeZone), limit, e.Rate)
		work := [][]string{{"WORK", "REQUESTS", "AT FULL SPEED", "A DAY", "OF A DAY", "BUDGET"}}
		for _, r := range e.Work {
			share, perDay := "-", "once"
			if e.Daily > 0 {
				share = fmt.Sprintf("%.2f %%", 100*r.OfDay)
			}
			if r.PerDay > 0 || r.Requests == 0 {
				perDay = fmt.Sprint(r.PerDay)
			}
			speed := config.FormatDuration(time.Duration(r.Seconds * float64(time.Second)).Round(time.Second))
			work = append(work, []string{r.Work, fmt.Sprint(r.Requests), speed, perDay, share, r.Stretched})
		}
		if each && len(e.Fresh) == 0 {
			fmt.Fprintf(w, "changes in seconds: %s\n", noFresh)
		}
		for _, f := range e.Fresh {
			mark := ""
			if !f.Ready {
				mark = "no: "
			}
			fmt.Fprintf(w, "changes in seconds, by %s: %s%s\n", f.Way, mark, clean(f.Says))
		}
		var left []string
		streams := [][]string{{"STREAM", "RECORDS", "CHANGED IN A DAY", "PROPERTIES", "FIRST LOAD", "PROBLEM"}}
		for _, s := range e.Streams {
			if s.streamSize == nil {
				streams = append(streams, []string{s.Stream, "?", "?", "?", "?", s.Error})
				left = append(left, s.Stream)
				continue
			}
			streams = append(streams, []string{s.Stream, fmt.Sprint(s.Records), fmt.Sprint(s.Changed), fmt.Sprint(s.Properties), fmt.Sprint(s.FirstLoad), s.Error})
		}
		shown := [][][]string{work, streams}
		if !each {
			shown = shown[:1]
		}
		if err := tables(w, shown...); err != nil {
			return err
		}
		if len(left) > 0 {
			fmt.Fprintf(w, "\nthe work above is without %s, of which HubSpot did not say how much there is\n", strings.Join(left, ", "))
		}
		for _, s := range e.Streams { // in full: the table is as wide as the screen
			if s.Error != "" {
				fmt.Fprintf(w, "\n%s: %s\n", s.Stream, clean(s.Error))
			}
		}
	}
	return nil
}
