package daemon

import (
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/schedule"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// storeAdapter gives the dispatcher the store by the interface it declares.
type storeAdapter struct{ *store.Store }

// Live counts a stream's live records as of the last commit.
func (a storeAdapter) Live(name string) uint64 { return a.Counts(name).Live }

// Archived counts a stream's records in HubSpot's recycle bin.
func (a storeAdapter) Archived(name string) uint64 { return a.Counts(name).Archived }

// Missing counts what the checks of the opening found lost.
func (a storeAdapter) Missing() map[string]uint64 { return a.Status().Missing }

func (a storeAdapter) Begin() (dispatch.Tx, error) {
	tx, err := a.Store.Begin()
	if err != nil {
		return nil, err
	}
	return tx, nil
}

// parseInterval makes a schedule of what someone typed, and gives it as people
// write it.
func parseInterval(text string) (dispatch.Schedule, string, error) {
	d, err := config.ParseDuration(text)
	if err != nil {
		return nil, "", err
	}
	s, err := schedule.Every(d)
	return s, config.FormatDuration(d), err
}

// associateEvery is how often the associations of all records are read: to
// associate and to part changes no time that search could show.
const associateEvery = 24 * time.Hour

// startDate is a time in ms, 0 for none.
func startDate(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// streamConfigs turns the configuration into what the dispatcher needs. A
// portal that cannot be used blocks its streams.
func streamConfigs(c *config.Config) ([]dispatch.StreamConfig, error) {
	problems := map[string]*stream.Problem{}
	reserve := map[string]float64{}
	for _, p := range c.Portals {
		reserve[p.Name] = p.DailyReserve
		if p.Problem != "" {
			problems[p.Name] = &stream.Problem{Type: "portal-blocked", Title: "the portal cannot be used", Status: 409,
				Detail: p.Problem, Hint: "mend it in the configuration, then reload or restart", Blocked: true}
		}
	}
	out := make([]dispatch.StreamConfig, 0, len(c.Streams))
	for _, s := range c.Streams {
		sc := dispatch.StreamConfig{Name: s.Name, Portal: s.Portal, Object: s.Object, Cron: s.Cron, Autostart: s.Autostart,
			Properties: s.Properties, Exclude: s.Exclude, Named: s.Named, Tail: s.Tail, Settle: s.Settle, Problem: problems[s.Portal],
			StartDate: startDate(s.StartDate), Volatile: s.Volatile, Associations: slices.Sorted(slices.Values(s.Associations)), AssociateEvery: associateEvery, History: slices.Sorted(slices.Values(s.History)),
			ArchivedEvery: s.ArchivedInterval, ReconcileEvery: s.ReconcileInterval, MaxDeletes: s.MaxDeletes,
			DailyReserve: reserve[s.Portal], Parents: s.Parents}
		sched, err := scheduleOf(s)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.Name, err)
		}
		sc.Schedule = sched
		if s.Cron == "" {
			sc.Interval = config.FormatDuration(s.Interval)
		}
		out = append(out, sc)
	}
	return out, nil
}

func scheduleOf(s config.Stream) (schedule.Schedule, error) {
	if s.Cron != "" {
		return schedule.Cron(s.Cron, s.Timezone)
	}
	return schedule.Every(max(s.Interval, time.Second))
}
