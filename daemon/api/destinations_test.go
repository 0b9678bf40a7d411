package api_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

func (d *daemon) Destinations(context.Context) ([]client.Destination, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return []client.Destination{{Name: "warehouse", Kind: "postgres", State: client.DestinationCurrent, Streams: []client.DestinationStream{}}}, nil
}

func (d *daemon) Destination(ctx context.Context, name string) (client.Destination, error) {
	list, err := d.Destinations(ctx)
	if name != "warehouse" {
		return client.Destination{}, &client.Problem{Type: client.TypeUnknownDestination, Title: "unknown destination", Status: http.StatusNotFound}
	}
	return list[0], err
}

func (d *daemon) DestinationTables(ctx context.Context, name string) (client.DestinationTables, error) {
	x, err := d.Destination(ctx, name)
	return client.DestinationTables{Name: x.Name, Kind: x.Kind, Schema: "hubspot", Tables: []client.DestinationTable{{Stream: "contacts", Object: "contacts", Table: "contacts",
		Columns: []client.DestinationColumn{{Name: "id", Type: "string"}, {Name: "email", Type: "string", Property: "email", Label: "E-mail"}}}}}, err
}

func (d *daemon) CheckDestination(ctx context.Context, name string) (client.DestinationCheck, error) {
	_, err := d.Destination(ctx, name)
	return client.DestinationCheck{Name: name, Equal: true}, err
}

func (d *daemon) toDestination(ctx context.Context, name, format string, args ...any) (client.Destination, error) {
	out, err := d.Destination(ctx, name)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.call(format, args...)
	}
	return out, err
}

func (d *daemon) PauseDestination(ctx context.Context, name string) (client.Destination, error) {
	return d.toDestination(ctx, name, "pause %s", name)
}

func (d *daemon) ResumeDestination(ctx context.Context, name string) (client.Destination, error) {
	return d.toDestination(ctx, name, "resume %s", name)
}

func (d *daemon) ResyncDestination(ctx context.Context, name, streamName string) (client.Destination, error) {
	return d.toDestination(ctx, name, "resync %s %q", name, streamName)
}

func TestDestinations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, tt := range []struct {
		method, path, body string
		status             int
		call               string
	}{
		{"GET", "", "", 200, ""},
		{"GET", "/warehouse", "", 200, ""},
		{"GET", "/lake", "", 404, ""},
		{"GET", "/warehouse/check", "", 200, ""},
		{"GET", "/lake/check", "", 404, ""},
		{"GET", "/warehouse/tables", "", 200, ""},
		{"GET", "/lake/tables", "", 404, ""},
		{"POST", "/warehouse/pause", "", 200, "pause warehouse"},
		{"POST", "/warehouse/resume", "", 200, "resume warehouse"},
		{"POST", "/warehouse/pause", `{"x":1}`, 400, ""},
		{"POST", "/lake/pause", "", 404, ""},
		{"POST", "/warehouse/resync", "", 202, `resync warehouse ""`},
		{"POST", "/warehouse/resync", `{"stream":"contacts"}`, 202, `resync warehouse "contacts"`},
		{"POST", "/warehouse/resync", `{"stream":""}`, 400, ""},
		{"POST", "/warehouse/resync", `{"table":"contacts"}`, 400, ""},
	} {
		before := b.d.called()
		res := do(t, b, tt.method, "/v1/destinations"+tt.path, tt.body)
		calls := b.d.called()[len(before):]
		if res.StatusCode != tt.status || (tt.call == "") != (len(calls) == 0) || tt.call != "" && !slices.Contains(calls, tt.call) {
			t.Errorf("%s %s %s: %s, calls %q, want %d and %q", tt.method, tt.path, tt.body, res.Status, calls, tt.status, tt.call)
		}
	}
}

// stuck has a destination whose check does not end by itself.
type stuck struct {
	*daemon

	began chan struct{}
}

func (d stuck) CheckDestination(ctx context.Context, _ string) (client.DestinationCheck, error) {
	close(d.began)
	<-ctx.Done()
	return client.DestinationCheck{}, ctx.Err()
}

// A warehouse that does not answer holds nobody up who stops the daemon.
func TestStopEndsACheck(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	b := setup(t, func(o *api.Options) {
		o.Grace, o.Control = time.Hour, stuck{newDaemon(), began}
	})
	status := make(chan int, 1)
	go func() { status <- do(t, b, "GET", "/v1/destinations/warehouse/check", "").StatusCode }()
	<-began
	if err := b.server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("the check is answered with %d", got)
	}
}
