package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// demoWatch shows what arrives in a demo's store. It follows the change feed,
// since most of what happens after the first sync changes no count.
type demoWatch struct {
	out     io.Writer
	begun   time.Time
	streams map[string]*watched
	changed int // after the first sync
	synced  bool
	width   int // of a stream's name
}

// watched is one stream as it was last shown.
type watched struct {
	records uint64
	since   uint64 // the place in the feed up to which it was shown
	problem string
	synced  bool
}

func newDemoWatch(out io.Writer) *demoWatch {
	return &demoWatch{out: out, begun: time.Now(), streams: map[string]*watched{}, width: 10}
}

// watch shows what comes, a line a stream that got something, until the first
// full sync of every stream, or for ever.
func (w *demoWatch) watch(ctx context.Context, api *client.Client, once bool) error {
	until := time.Now().Add(demoTime)
	for {
		ss, err := api.Streams(ctx)
		if err != nil {
			return err
		}
		all := len(ss) > 0
		for _, s := range ss {
			w.width = max(w.width, len(s.Name))
		}
		for _, s := range ss {
			if err := w.look(ctx, api, s); err != nil {
				return err
			}
			all = all && w.streams[s.Name].synced
		}
		if all && !w.synced {
			w.synced = true
			if once {
				return nil
			}
			fmt.Fprintf(w.out, "every stream is synced after %.1f s; what changes in HubSpot from now on:\n", time.Since(w.begun).Seconds())
		}
		if once && time.Now().After(until) {
			return fmt.Errorf("the first sync did not end within %s", demoTime)
		}
		every := 250 * time.Millisecond
		if w.synced {
			every = time.Second
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// look reads what is new in a stream and shows it.
func (w *demoWatch) look(ctx context.Context, api *client.Client, s client.Status) error {
	x := w.streams[s.Name]
	if x == nil {
		x = &watched{}
		w.streams[s.Name] = x
	}
	first, came, last := !x.synced, 0, client.Record{}
	x.synced = x.synced || s.CompleteUntil != nil && s.LastRun != nil && s.LastRun.State == client.RunDone
	for r, err := range api.Changes(ctx, s.Name, client.ChangeQuery{Since: strconv.FormatUint(x.since, 10)}) {
		if err != nil {
			return err
		}
		came++
		x.since, last = r.Seq, r
	}
	problem := ""
	if s.Error != nil {
		problem = s.Error.Error()
	}
	switch {
	case problem != "" && problem != x.problem:
		fmt.Fprintf(w.out, "%-*s %6d records  %s: %s\n", w.width, s.Name, s.Records, s.State, clean(problem))
	case came > 0 && first:
		fmt.Fprintf(w.out, "%-*s %6d records  +%d\n", w.width, s.Name, max(s.Records, x.records+uint64(came)), came)
	case came > 0:
		w.changed += came
		fmt.Fprintf(w.out, "%-*s %6d records  %s, the last is %s of %s\n", w.width, s.Name, s.Records, count(came, "change"), clean(last.ID), updated(last))
	}
	x.records, x.problem = s.Records, problem
	return nil
}

// updated is the time of day at which HubSpot changed a record.
func updated(r client.Record) string {
	if r.UpdatedAt == nil {
		return "no time"
	}
	t, err := time.Parse(time.RFC3339, *r.UpdatedAt)
	if err != nil {
		return clean(*r.UpdatedAt)
	}
	return t.UTC().Format("15:04:05Z")
}

// closing is the last line of a demo that was ended.
func (w *demoWatch) closing(took time.Duration) {
	records := uint64(0)
	for _, x := range w.streams {
		records += x.records
	}
	fmt.Fprintf(w.out, "ended after %s: %d records, %s since the first sync; the demo's folder is removed\n",
		took.Round(time.Second), records, count(w.changed, "change"))
}
