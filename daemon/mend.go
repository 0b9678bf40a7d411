package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
)

// mendStore waits for the checks of the store's opening and has HubSpot bring
// back what they found missing, now or before an earlier end. What it finds is
// said once; where it cannot be asked for now the ledger knows that it has to
// be.
func (d *Daemon) mendStore(ctx context.Context) {
	select {
	case <-d.store.Ready():
	case <-ctx.Done():
		return
	}
	st := d.store.Status()
	if st.LostTail {
		d.log.Error("the store has lost its newest commits; the cursors went with them, and what is missing is fetched again",
			"epoch", d.store.Epoch())
	}
	var runs map[string]string
	err := d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) (outs []dispatch.Out, err error) {
		runs, outs, err = x.Mend(now)
		return outs, err
	})
	if errors.Is(err, dispatch.ErrStopped) || err != nil && (ctx.Err() != nil || len(st.Missing) == 0) {
		return // the ledger knows, if there is something; the next start asks
	}
	if err != nil {
		d.log.Error("what the store has lost could not be asked for; it is when the ledger can be written", "missing", st.Missing, "error", err)
		return
	}
	for name, run := range runs {
		if run == "" {
			run = "when its portal can be used"
		}
		d.log.Error("records are missing from the store; everything of the stream is held against HubSpot", "stream", name,
			"missing", st.Missing[name], "run", run)
	}
}

// Doctor reads all that is stored, and says what is wrong; what can be mended
// is, by the next commits.
func (d *Daemon) Doctor(ctx context.Context) (client.Diagnosis, error) {
	out := client.Diagnosis{Store: d.store.ID(), Epoch: d.store.Epoch()}
	if err := d.Ready(); err != nil {
		out.Findings = append(out.Findings, client.Finding{What: err.Error()})
	}
	report, err := d.store.Recheck(ctx)
	if err != nil {
		return out, err
	}
	for _, r := range report.Streams {
		if !r.OK() {
			out.Findings = append(out.Findings, client.Finding{
				What: fmt.Sprintf("%s: %d blocks of records cannot be read, %d ids lead to no record, %d records are found by no id%s",
					r.Stream, r.Unreadable, r.Unfound, r.Stray, badVersions(r.BadVersions)),
				Todo: "nothing: the daemon lets go what is broken with its next commits, and fetches it again; ask once more in a while"})
		}
	}
	if report.Unreadable > 0 {
		out.Findings = append(out.Findings, client.Finding{What: fmt.Sprintf("%d entries of the ledger cannot be read", report.Unreadable),
			Todo: "stop the daemon, and let `hubpipe doctor --repair` let them go"})
	}
	out.Streams = StreamChecks(report.Streams)
	return out, nil
}

// badVersions says what is wrong with versions that are kept, nothing where none
// are.
func badVersions(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d versions that were kept cannot be used", n)
}

// StreamChecks is what the store found, as it travels.
func StreamChecks(streams []store.StreamReport) []client.StreamCheck {
	out := make([]client.StreamCheck, 0, len(streams))
	for _, r := range streams {
		out = append(out, client.StreamCheck{Name: r.Stream, Records: r.Found.Live, Tombstones: r.Found.Tombstones(),
			Unreadable: r.Unreadable, Unfound: r.Unfound, Stray: r.Stray})
	}
	return out
}
