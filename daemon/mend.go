package daemon

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/daemon/dispatch"
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
