package daemon

import "context"

// mendStore waits for the checks of the store's opening and has HubSpot bring
// back what they found missing. What it finds is said once.
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
	for name, n := range st.Missing {
		run, err := d.Resync(ctx, name)
		if err != nil {
			d.log.Error("records are missing and could not be asked for; resync the stream", "stream", name, "missing", n, "error", err)
			continue
		}
		d.log.Error("records are missing from the store; everything of the stream is read again", "stream", name, "missing", n, "run", run)
	}
}
