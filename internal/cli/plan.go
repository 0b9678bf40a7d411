package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/budget"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

func (c *command) plan() *cobra.Command {
	var estimate bool
	cmd := c.talking("plan", "Show what reading the configuration again would do, and what it costs",
		func(cmd *cobra.Command, d *client.Client, _ []string) error {
			plan, err := d.Plan(cmd.Context())
			if p, ok := errors.AsType[*client.Problem](err); ok && p.Type == client.TypeBadConfiguration {
				return configError(err)
			}
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("estimate") && estimate && c.addr != "" {
				return usageError("--estimate asks HubSpot with the tokens of the configuration here, and --addr names a daemon elsewhere; leave one of them out")
			}
			if estimate && c.addr == "" {
				if err := c.measureNew(cmd.Context(), d, &plan); err != nil {
					return err
				}
			}
			if err := c.show(plan, func(w io.Writer) error { return planText(w, plan) }); err != nil {
				return err
			}
			if plan.Refused() {
				return configError(errReported)
			}
			return nil
		})
	cmd.Flags().BoolVar(&estimate, "estimate", true, "ask HubSpot for the sizes of new streams, in five requests each")
	return cmd
}

// measureNew asks HubSpot how much there is of the streams of which nothing is
// stored. What cannot be asked is noted in its place.
func (c *command) measureNew(ctx context.Context, d *client.Client, plan *client.Plan) error {
	if !slices.ContainsFunc(plan.Streams, func(s client.PlannedStream) bool { return s.Change == client.ChangeNew }) {
		return nil
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	known := map[string]client.Limits{}
	portals, err := d.Portals(ctx)
	if err != nil {
		return err
	}
	for _, p := range portals {
		known[p.Name] = p.Limits
	}
	ctx, cancel := context.WithTimeout(ctx, estimateTime)
	defer cancel()
	clients := map[string]*hubspot.Client{}
	defer func() {
		for _, client := range clients {
			client.Close()
		}
	}()
	for i := range plan.Streams {
		s := &plan.Streams[i]
		p, ok := cfg.PortalByName(s.Portal)
		if !ok || s.Change != client.ChangeNew {
			continue
		}
		if p.Problem != "" {
			s.Notes = append(s.Notes, "its size is not known: "+p.Problem)
			continue
		}
		if clients[p.Name] == nil {
			clients[p.Name] = hubspot.New(portalOptions(p, cfg.DataDir))
			clients[p.Name].Impatient()
		}
		measureOne(ctx, clients[p.Name], cfg, s, known[p.Name])
	}
	return nil
}

// measureOne reckons the first load of a stream.
func measureOne(ctx context.Context, hub *hubspot.Client, cfg *config.Config, s *client.PlannedStream, limits client.Limits) {
	for i := range s.Work {
		w := &s.Work[i]
		if w.Requests != nil {
			continue
		}
		for _, one := range cfg.Streams {
			if one.Name != s.Stream {
				continue
			}
			size, err := worker.Measure(ctx, hub, one.Object, one.Properties, one.Exclude)
			switch {
			case err != nil:
				s.Notes = append(s.Notes, "its size is not known: "+inWords(err))
			case size.Properties == 0:
				s.Notes = append(s.Notes, "its size cannot be asked for")
			default:
				n := budget.FirstLoad(budget.Stream{Name: s.Stream, Records: size.Records, Archived: budget.Bin(size.Records), Wide: size.Wide,
					Pairs: len(one.Associations), History: len(one.History) > 0})
				w.Records, w.Requests = &size.Records, &n
				w.Cost(limits.Rate, limits.Daily, 0)
			}
		}
	}
}

// planText says it in lines: what is planned does not fit into a table, and none
// of it is to be cut.
func planText(w io.Writer, plan client.Plan) error {
	var b strings.Builder
	if plan.Empty() {
		b.WriteString("nothing changes\n")
	}
	for _, p := range plan.Portals {
		fmt.Fprintf(&b, "portal %s: %s\n", p.Portal, p.Change)
		for _, s := range p.Settings {
			fmt.Fprintf(&b, "  %s\n", clean(s))
		}
	}
	for i := range plan.Streams {
		s := &plan.Streams[i]
		fmt.Fprintf(&b, "stream %s: %s\n", s.Stream, s.Change)
		for _, line := range append(s.Settings, s.Notes...) {
			fmt.Fprintf(&b, "  %s\n", clean(line))
		}
		for j := range s.Work {
			x := &s.Work[j]
			fmt.Fprintf(&b, "  reads: %s, %s\n    %s\n", x.Work, costText(x), clean(x.Reason))
		}
	}
	for _, s := range plan.Settings {
		fmt.Fprintf(&b, "takes over: %s\n", clean(s))
	}
	for _, s := range plan.Restart {
		fmt.Fprintf(&b, "waits for a restart: %s\n", clean(s))
	}
	_, err := io.WriteString(w, b.String())
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

// costText is what a work costs, as far as it is known.
func costText(w *client.PlannedWork) string {
	if w.Requests == nil {
		return "whose cost is not known"
	}
	text := count(int(*w.Requests), "request")
	if w.Bound != "" {
		text = w.Bound + " " + text
	}
	if w.Records != nil {
		text += " for " + count(int(*w.Records), "record")
	}
	if w.Seconds != nil {
		text += ", " + config.FormatDuration(max(time.Second, time.Duration(*w.Seconds*float64(time.Second)).Round(time.Second))) + " at full speed"
	}
	if w.OfDay != nil {
		text += fmt.Sprintf(", %.2f %% of a day's requests", 100**w.OfDay)
	}
	if w.Days != nil {
		text += fmt.Sprintf(": %s at its share of them", count(int(math.Ceil(*w.Days)), "day"))
	}
	return text
}
