package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// everyStream is the configuration of all that can be read of a simulated
// HubSpot: the catalogue, and the objects that the portal has defined, with the
// associations that there are.
func everyStream(o simulator.Options) string {
	var text strings.Builder
	// They are read once more when the scenario has ended; until then they would
	// only be read again and again.
	text.WriteString(`defaults {
  interval     = "1h"
  tail         = "10s"
  associations = []
}
`)
	with := map[string][]string{}
	for pair := range o.Associations {
		from, to, _ := strings.Cut(pair, "-")
		with[from] = append(with[from], to)
		with["associations"] = append(with["associations"], from+"/"+to, to+"/"+from)
	}
	all := catalogue.All()
	for _, name := range slices.Sorted(maps.Keys(o.Sizes)) {
		if own, ok := catalogue.Custom(name); ok {
			all = append(all, own)
		}
	}
	for _, row := range all {
		switch linked := with[row.Name]; {
		case !row.Ready:
		case len(linked) > 0:
			slices.Sort(linked)
			fmt.Fprintf(&text, "stream %q { associations = [\"%s\"] }\n", row.Name, strings.Join(slices.Compact(linked), `", "`))
		default:
			fmt.Fprintf(&text, "stream %q {}\n", row.Name)
		}
	}
	return text.String()
}

// play is a scenario of the simulated HubSpot beside a daemon that follows it.
type play struct {
	api     *client.Client
	sim     *simulator.Simulator
	streams []config.Stream
	out     io.Writer
}

// betweenSteps lets a scenario's steps be seen one by one.
const betweenSteps = 300 * time.Millisecond

// run does all steps and then brings every stream up to date: what changes no
// time, such as associations and what was erased, shows only to those who read
// everything.
func (p play) run(ctx context.Context) error {
	for {
		did, err := p.sim.NextStep()
		if err != nil {
			return err
		}
		if did == "" {
			break
		}
		fmt.Fprintf(p.out, "in HubSpot: %s\n", did)
		if err := pause(ctx, betweenSteps); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	// Each wave reads what the one before has brought.
	for _, wave := range []struct {
		of    func(config.Stream, catalogue.Object) bool
		begin func(context.Context, string) (string, error)
	}{
		{func(s config.Stream, o catalogue.Object) bool {
			return o.Strategy == catalogue.StrategyObjects && len(s.Associations) > 0
		}, p.api.Resync},
		{func(_ config.Stream, o catalogue.Object) bool { return o.Endpoint.Parent.Kind == catalogue.ParentNone }, p.reconcile},
		{func(_ config.Stream, o catalogue.Object) bool { return o.Endpoint.Parent.Kind != catalogue.ParentNone }, p.reconcile},
	} {
		var runs []string
		for _, s := range p.streams {
			o, _ := catalogue.Lookup(s.Object)
			if !wave.of(s, o) {
				continue
			}
			id, err := wave.begin(ctx, s.Name)
			if err != nil {
				return fmt.Errorf("bring %s up to date: %w", s.Name, err)
			}
			runs = append(runs, id)
		}
		for _, id := range runs {
			if err := p.ended(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// reconcile believes every absence: a scenario may end as many as it likes.
func (p play) reconcile(ctx context.Context, name string) (string, error) {
	return p.api.Reconcile(ctx, name, true)
}

// ended waits for a run's end.
func (p play) ended(ctx context.Context, id string) error {
	for {
		run, err := p.api.Run(ctx, id)
		switch {
		case err != nil:
			return fmt.Errorf("wait for run %s: %w", id, err)
		case run.Running():
		case run.State != client.RunDone:
			return fmt.Errorf("run %s of %s has %s: %w", id, run.Stream, run.State, run.Error)
		default:
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("run %s of %s has not ended: %w", id, run.Stream, err)
		}
	}
}
