package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// difference is a property of which HubSpot says something else than is stored.
// null and absent are the same.
type difference struct {
	Property string          `json:"property"`
	Stored   json.RawMessage `json:"stored"`
	HubSpot  json.RawMessage `json:"hubspot"`
}

// answered is what HubSpot says of a record now.
type answered struct {
	Found       bool         `json:"found"`
	Archived    bool         `json:"archived"`
	Version     *time.Time   `json:"version"`
	Same        int          `json:"same"` // properties that agree
	Differences []difference `json:"differences"`
	Error       string       `json:"error,omitempty"`

	failed error // why HubSpot did not say
}

// fails notes why HubSpot did not say.
func (a *answered) fails(err error) *answered {
	a.failed, a.Error = err, inWords(err)
	if errors.Is(err, errReported) {
		a.Error = "the configuration here has mistakes: `hubpipe check` names them"
	}
	return a
}

// explain says why a record is as it is: what the daemon knows of it, and what
// HubSpot says of it now.
func (c *command) explain() *cobra.Command {
	var stored bool
	cmd := c.talking("explain STREAM ID", "Say why a record is as it is, and what HubSpot says of it now",
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			e, err := d.Explain(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			var now *answered
			if !stored {
				r, err := d.Record(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				now = c.askHubSpot(cmd.Context(), &r, args[0])
			}
			if err := c.show(map[string]any{"explanation": e, "hubspot": now}, func(w io.Writer) error { return explained(w, &e, now) }); err != nil {
				return err
			}
			if now != nil && now.failed != nil {
				return fmt.Errorf("%w: %w", errReported, now.failed) // with its exit code
			}
			return nil
		})
	cmd.Long = `Say why a record is as it is: its place in the change feed, when each version of
it was read and stored and by which run on which road, how far each destination is
with it, and what HubSpot says of it now, property by property. Versions before the
stored one are shown as long as something of them is left: where a destination
keeps versions, those that it has not read, and else a few of the last ones. HubSpot
is asked from here, with the credentials of this configuration; nothing is stored.
Where it cannot be asked or does not answer, the rest is printed all the same, and
the exit code is 1, or 3 where the configuration is the reason; --stored does not ask.
'hubpipe sync STREAM --record 123' reads record 123 again.`
	cmd.Flags().BoolVar(&stored, "stored", false, "only what is stored; HubSpot is not asked")
	return cmd
}

// reach is a client for the portal of a stream of the configuration.
func (c *command) reach(name string) (*hubspot.Client, config.Stream, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, config.Stream{}, err
	}
	i := slices.IndexFunc(cfg.Streams, func(s config.Stream) bool { return s.Name == name })
	if i < 0 {
		return nil, config.Stream{}, configErrorf("this configuration has no stream %q: HubSpot cannot be asked from here\n  hint: `hubpipe check` names its file; the daemon's streams are shown by `hubpipe streams`", name)
	}
	s := cfg.Streams[i]
	j := slices.IndexFunc(cfg.Portals, func(p config.Portal) bool { return p.Name == s.Portal })
	if j < 0 {
		return nil, s, configErrorf("this configuration has no portal %q", s.Portal)
	}
	if cfg.Portals[j].Problem != "" {
		return nil, s, configErrorf("portal %s cannot be used: %s", s.Portal, cfg.Portals[j].Problem)
	}
	log, err := c.logger("warn")
	if err != nil {
		return nil, s, err
	}
	o := portalOptions(cfg.Portals[j], cfg.DataDir)
	o.Logger = log.Named("hubspot")
	client := hubspot.New(o)
	client.Impatient()
	return client, s, nil
}

func configErrorf(format string, args ...any) error { return configError(fmt.Errorf(format, args...)) }

// askHubSpot holds a stored record against what HubSpot has now.
func (c *command) askHubSpot(ctx context.Context, r *client.Record, name string) *answered {
	out := &answered{Differences: []difference{}}
	hub, s, err := c.reach(name)
	if err != nil {
		return out.fails(err)
	}
	defer hub.Close()
	ctx, cancel := context.WithTimeout(ctx, estimateTime)
	defer cancel()
	got, found, err := worker.Look(ctx, hub, s.Object, r.ID, s.Properties, s.Exclude)
	if err != nil {
		return out.fails(err)
	}
	if out.Found, out.Archived = found, got.Archived; !found {
		return out
	}
	if got.Version > 0 {
		t := time.UnixMilli(got.Version).UTC()
		out.Version = &t
	}
	out.Same, out.Differences, err = compared(r.Properties, got.Properties)
	if err != nil {
		return out.fails(err)
	}
	return out
}

// compared holds properties against each other, in the order of their names.
func compared(stored, hub json.RawMessage) (same int, out []difference, err error) {
	var a, b map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(stored, &a), json.Unmarshal(hub, &b)); err != nil {
		return 0, nil, fmt.Errorf("read the properties: %w", err)
	}
	names := slices.Sorted(maps.Keys(a))
	for n := range b {
		if _, ok := a[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	null := json.RawMessage("null")
	out = []difference{}
	for _, n := range names {
		x, y := a[n], b[n]
		if x == nil {
			x = null
		}
		if y == nil {
			y = null
		}
		if spelled(x) == spelled(y) {
			same++
		} else {
			out = append(out, difference{n, x, y})
		}
	}
	return same, out, nil
}

// spelled is a value as text, so that how it is escaped does not count.
func spelled(raw json.RawMessage) string {
	var text string
	if raw[0] == '"' && json.Unmarshal(raw, &text) == nil {
		return `"` + text
	}
	return string(raw)
}

func explained(w io.Writer, e *client.Explanation, now *answered) error {
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.UTC().Format("2006-01-02 15:04:05.000Z")
	}
	state := e.State
	if e.MergedInto != nil {
		state += " into " + *e.MergedInto
	}
	rows := [][]string{{"RECORD", e.Stream + " " + e.Record}, {"state", state},
		{"place in the feed", fmt.Sprintf("%d of %d", e.Seq, e.Head)}, {"HubSpot's version", at(e.Version)},
		{"read from HubSpot", at(e.Read)}, {"stored", at(e.Committed)}}
	if e.AssociationsRead != nil {
		rows = append(rows, []string{"associations read", at(e.AssociationsRead)})
	}
	if e.HistoryRead != nil {
		rows = append(rows, []string{"history read", at(e.HistoryRead)})
	}
	if len(e.Versions) > 0 {
		v := &e.Versions[0]
		rows = append(rows, []string{"came by", cameBy(v)})
		if of := broughtBy(v); of != "" {
			rows = append(rows, []string{"its properties by", of})
		}
	}
	for _, d := range e.Destinations {
		is := "not yet written"
		if d.Written {
			is = "written"
		}
		rows = append(rows, []string{"in " + d.Destination, fmt.Sprintf("%s, table %s at %d", is, d.Table, d.Position)})
	}
	if now != nil {
		rows = append(rows, []string{"HubSpot now", now.words()})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if now != nil && now.Error != "" {
		fmt.Fprintf(w, "\nHubSpot was not asked, or did not answer:\n  %s\n", strings.Join(wrap(now.Error, screen-2), "\n  "))
	}
	if err := explainedVersions(w, e.Versions); err != nil {
		return err
	}
	if now == nil || len(now.Differences) == 0 {
		return nil
	}
	rows = [][]string{{"PROPERTY", "STORED", "HUBSPOT NOW"}}
	for _, d := range now.Differences {
		rows = append(rows, []string{d.Property, string(d.Stored), string(d.HubSpot)})
	}
	fmt.Fprintln(w)
	return table(w, rows)
}

// explainedVersions are what is left of a record, where there is more than one.
func explainedVersions(w io.Writer, versions []client.ExplainedVersion) error {
	if len(versions) < 2 {
		return nil
	}
	at := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.UTC().Format("2006-01-02 15:04:05Z")
	}
	rows, forgotten := [][]string{{"PLACE", "STATE", "HUBSPOT'S VERSION", "STORED", "ROAD", "RUN"}}, false
	for i := range versions {
		v := &versions[i]
		road, run := orDash(v.Road), orDash(v.RunID)
		if v.RunID != nil && v.Run == nil {
			run, forgotten = run+"*", true
		}
		rows = append(rows, []string{strconv.FormatUint(v.Seq, 10), v.State, at(v.Version), at(v.Committed), road, run})
	}
	fmt.Fprintln(w)
	if err := table(w, rows); err != nil || !forgotten {
		return err
	}
	_, err := fmt.Fprintln(w, "* is no longer kept")
	return err
}

func orDash(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// cameBy says who brought a version.
func cameBy(v *client.ExplainedVersion) string {
	switch {
	case v.Road == nil && v.RunID == nil:
		return "not known: it was stored before this was kept"
	case v.RunID == nil:
		return *v.Road
	}
	by := "run " + *v.RunID
	if v.Road != nil {
		by = *v.Road + ", " + by
	}
	if v.Run == nil {
		return by + ", which is no longer kept"
	}
	return fmt.Sprintf("%s (%s)", by, v.Run.Kind)
}

// broughtBy says who brought the properties of a version, "" where that is who
// brought all of it.
func broughtBy(v *client.ExplainedVersion) string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	road, run := text(v.PropertiesRoad), text(v.PropertiesRunID)
	switch {
	case road == text(v.Road) && run == text(v.RunID):
		return ""
	case road == "":
		return "not known: they were stored before this was kept"
	case run == "":
		return road
	}
	return road + ", run " + run
}

// words are what HubSpot says, in a line.
func (a *answered) words() string {
	switch {
	case a.Error != "":
		return "not known, see below"
	case !a.Found:
		return "has no such record"
	}
	line := fmt.Sprintf("%s the same, %d otherwise", count(a.Same, "property"), len(a.Differences))
	if a.Same != 1 {
		line = fmt.Sprintf("%d properties the same, %d otherwise", a.Same, len(a.Differences))
	}
	if a.Archived {
		line = "archived; " + line
	}
	return line
}
