package daemon

import (
	"context"
	"net/http"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
)

// knownErrors are the errors of the daemon's parts that people can do something
// about, whatever door their command came by.
func knownErrors() []api.Known {
	return []api.Known{
		{Err: store.ErrNotFound, Problem: client.Problem{Type: client.TypeNotFound, Title: "there is no such thing", Status: http.StatusNotFound}},
		{Err: store.ErrFull, Problem: client.Problem{Type: client.TypeDiskFull, Title: "the disk is nearly full", Status: http.StatusInsufficientStorage,
			Hint: "make room on it; it goes on by itself"}},
		{Err: store.ErrUnreadable, Problem: client.Problem{Type: client.TypeUnhealthy, Title: "the store is damaged", Status: http.StatusServiceUnavailable,
			Hint: "stop the daemon, run `hubpipe doctor --repair`, and start it again"}},
		{Err: dispatch.ErrStopped, Problem: client.Problem{Type: client.TypeStopping, Title: "the daemon is stopping", Status: http.StatusServiceUnavailable,
			Hint: "try again when it has been started again"}},
	}
}

// do does a command of the control topic.
func (d *Daemon) do(ctx context.Context, c Command) (outcome, error) {
	if c.Stream == allStreams || c.Stream == "" {
		return d.doAll(ctx, c)
	}
	run, err := d.doOne(ctx, c, c.Stream)
	if err != nil {
		return outcome{}, err
	}
	s, err := d.Stream(ctx, c.Stream)
	if run == "" && s.Run != nil && c.Action == "start" {
		run = s.Run.ID
	}
	return outcome{run: run, status: s}, err
}

// doAll does a command for every stream, as /v1/streams/all does.
func (d *Daemon) doAll(ctx context.Context, c Command) (outcome, error) {
	streams, err := d.Streams(ctx)
	if err != nil || c.Action == "status" {
		return outcome{status: streams}, err
	}
	names := make([]string, len(streams))
	for i := range streams {
		names[i] = streams[i].Name
	}
	failed, err := api.Each(ctx, names, func(name string) error {
		_, err := d.doOne(ctx, c, name)
		return err
	}, func(err error) *client.Problem { return d.control.problem(c, err) })
	if err != nil {
		return outcome{}, err
	}
	streams, err = d.Streams(ctx)
	return outcome{status: streams, failed: failed}, err
}

// doOne does a command for one stream, and gives the run that it began or
// joined where the command is one that makes runs.
func (d *Daemon) doOne(ctx context.Context, c Command, name string) (run string, err error) {
	switch c.Action {
	case "start":
		_, err = d.StartStream(ctx, name, c.Interval)
	case "stop":
		_, err = d.StopStream(ctx, name)
	case "sync":
		run, err = d.Sync(ctx, name, c.Record)
	case "resync":
		run, err = d.Resync(ctx, name)
	case "reconcile":
		run, err = d.Reconcile(ctx, name, c.AcceptDeletes)
	}
	return run, err
}
