package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// All is the name under which a command means every stream; see the methods
// whose names begin with it.
const All = "all"

// Healthy returns nil when the daemon lives, a *Problem with the reason when
// it does not.
func (c *Client) Healthy(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodGet, "/healthz", nil, nil, nil)
	return err
}

// Ready returns nil when the daemon can work, a *Problem with the reason when
// it cannot.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodGet, "/readyz", nil, nil, nil)
	return err
}

// Doctor has the daemon read all that it has stored, and says what is wrong.
func (c *Client) Doctor(ctx context.Context) (Diagnosis, error) {
	return get[Diagnosis](ctx, c, "/v1/doctor", nil)
}

// Streams lists how all streams stand.
func (c *Client) Streams(ctx context.Context) ([]Status, error) {
	out, err := get[Statuses](ctx, c, "/v1/streams", nil)
	return out.Streams, err
}

// Stream tells how one stands.
func (c *Client) Stream(ctx context.Context, name string) (Status, error) {
	return get[Status](ctx, c, streamPath(name, ""), nil)
}

// Start begins fetching on the interval ("5m"; "" for the configured one, also
// where another was set before) and returns how the stream stands.
func (c *Client) Start(ctx context.Context, name, interval string) (Status, error) {
	return post[Status](ctx, c, streamPath(name, "/start"), StartBody{interval})
}

// StartAll is Start for all streams; Failed are those that cannot.
func (c *Client) StartAll(ctx context.Context, interval string) (Statuses, error) {
	return post[Statuses](ctx, c, streamPath(All, "/start"), StartBody{interval})
}

// Stop ends the stream's schedule and what runs, and returns when that holds.
func (c *Client) Stop(ctx context.Context, name string) (Status, error) {
	return post[Status](ctx, c, streamPath(name, "/stop"), nil)
}

// StopAll ends the schedules and runs of all streams.
func (c *Client) StopAll(ctx context.Context) (Statuses, error) {
	return post[Statuses](ctx, c, streamPath(All, "/stop"), nil)
}

// Sync makes a run of the stream, of one record where its id is given, and
// returns the run's id at once. A record's run tells of that record alone, also
// where it is read beside a walk that goes on: it has failed where HubSpot does
// not hand the record out.
func (c *Client) Sync(ctx context.Context, name, record string) (string, error) {
	run, err := c.begin(ctx, streamPath(name, "/sync"), SyncBody{record}, 0)
	return run.ID, err
}

// SyncWait is Sync and waits up to the time given for the run to end. A run
// that still goes on comes with its ID alone and the state running.
func (c *Client) SyncWait(ctx context.Context, name, record string, wait time.Duration) (Run, error) {
	return c.begin(ctx, streamPath(name, "/sync"), SyncBody{record}, wait)
}

// SyncAll makes a run of every stream and returns their ids at once.
func (c *Client) SyncAll(ctx context.Context) (AllStarted, error) {
	return post[AllStarted](ctx, c, streamPath(All, "/sync"), nil)
}

// Resync makes a run that fetches everything again, and returns its id at once.
func (c *Client) Resync(ctx context.Context, name string) (string, error) {
	run, err := c.begin(ctx, streamPath(name, "/resync"), nil, 0)
	return run.ID, err
}

// ResyncWait is Resync, and waits as SyncWait does.
func (c *Client) ResyncWait(ctx context.Context, name string, wait time.Duration) (Run, error) {
	return c.begin(ctx, streamPath(name, "/resync"), nil, wait)
}

// ResyncAll fetches everything of every stream again and returns the ids of the
// runs at once.
func (c *Client) ResyncAll(ctx context.Context) (AllStarted, error) {
	return post[AllStarted](ctx, c, streamPath(All, "/resync"), nil)
}

// Reconcile makes a run that holds everything against HubSpot, and returns its
// id at once. With accept the absence of records ends however many of them.
func (c *Client) Reconcile(ctx context.Context, name string, accept bool) (string, error) {
	run, err := c.begin(ctx, streamPath(name, "/reconcile"), ReconcileBody{accept}, 0)
	return run.ID, err
}

// ReconcileAll is Reconcile for all streams, and returns the ids of the runs at
// once.
func (c *Client) ReconcileAll(ctx context.Context, accept bool) (AllStarted, error) {
	return post[AllStarted](ctx, c, streamPath(All, "/reconcile"), ReconcileBody{accept})
}

// Notifications lists those who are told what is wrong.
func (c *Client) Notifications(ctx context.Context) ([]Notification, error) {
	out, err := get[Notifications](ctx, c, "/v1/notify", nil)
	return out.Notify, err
}

// TestNotification sends one of them a message, and returns when it arrived.
func (c *Client) TestNotification(ctx context.Context, name string) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/notify/"+url.PathEscape(name)+"/test", nil, nil, nil)
	return err
}

// Erase takes away all that is held of a record but its id, and returns when it
// has gone.
func (c *Client) Erase(ctx context.Context, name, record string) error {
	_, err := c.call(ctx, http.MethodPost, streamPath(name, "/erase"), nil, EraseBody{record}, nil)
	return err
}

// Erasures lists what was erased, by stream and id.
func (c *Client) Erasures(ctx context.Context) ([]Erasure, error) {
	out, err := get[Erasures](ctx, c, "/v1/erasures", nil)
	return out.Erasures, err
}

func (c *Client) begin(ctx context.Context, path string, body any, wait time.Duration) (Run, error) {
	q := url.Values{}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	var raw json.RawMessage
	status, err := c.call(ctx, http.MethodPost, path, q, body, &raw)
	if err != nil {
		return Run{}, err
	}
	if status == http.StatusOK {
		var run Run
		err := json.Unmarshal(raw, &run)
		return run, err
	}
	var started Started
	err = json.Unmarshal(raw, &started)
	return Run{ID: started.Run, State: RunRunning}, err
}

// Schema lists HubSpot's properties of a stream.
func (c *Client) Schema(ctx context.Context, name string) ([]Property, error) {
	out, err := get[Schema](ctx, c, streamPath(name, "/schema"), nil)
	return out.Properties, err
}

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, q RunQuery) ([]Run, error) {
	v := values("stream", q.Stream, "state", q.State, "limit", count(q.Limit), "before", q.Before)
	out, err := get[Runs](ctx, c, "/v1/runs", v)
	return out.Runs, err
}

// Run returns one run.
func (c *Client) Run(ctx context.Context, id string) (Run, error) {
	return get[Run](ctx, c, "/v1/runs/"+url.PathEscape(id), nil)
}

// Workers lists the workers that were heard of.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	out, err := get[Workers](ctx, c, "/v1/workers", nil)
	return out.Workers, err
}

// Figures is what the daemon takes and who is connected to it.
func (c *Client) Figures(ctx context.Context) (Figures, error) {
	return get[Figures](ctx, c, "/v1/figures", nil)
}

// Portals lists the HubSpot accounts.
func (c *Client) Portals(ctx context.Context) ([]Portal, error) {
	out, err := get[Portals](ctx, c, "/v1/portals", nil)
	return out.Portals, err
}

// Logs gives the last lines of the daemon's log, oldest first: of a stream, of
// at least a level, at most limit; what is empty does not select.
func (c *Client) Logs(ctx context.Context, streamName, level string, limit int) ([]Line, error) {
	out, err := get[Lines](ctx, c, "/v1/logs", values("stream", streamName, "level", level, "limit", count(limit)))
	return out.Lines, err
}

// LogLevel is how much the daemon logs: Level now, Configured by its
// configuration or flag.
type LogLevel struct {
	Level      string `json:"level"`
	Configured string `json:"configured"`
}

// LogLevels are the levels of the log, from the most to the least that is said.
func LogLevels() []string { return []string{"trace", "debug", "info", "warn", "error"} }

// LogLevel asks how much the daemon logs.
func (c *Client) LogLevel(ctx context.Context) (LogLevel, error) {
	return get[LogLevel](ctx, c, "/v1/log", nil)
}

// SetLogLevel has the daemon log more or less, until it reads its configuration
// again or is restarted.
func (c *Client) SetLogLevel(ctx context.Context, level string) (LogLevel, error) {
	var out LogLevel
	_, err := c.call(ctx, http.MethodPut, "/v1/log", nil, map[string]string{"level": level}, &out)
	return out, err
}

// Shutdown asks the daemon to stop and does not wait until it has.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.call(ctx, http.MethodPost, "/v1/shutdown", nil, nil, nil)
	return err
}

// Reload asks the daemon to read its configuration again and returns what that
// does, as Plan showed it; a *Problem says what is wrong with the configuration.
func (c *Client) Reload(ctx context.Context) (Plan, error) {
	return post[Plan](ctx, c, "/v1/reload", nil)
}

// Plan returns what a reload would do now, and does nothing; a *Problem says
// what is wrong with the configuration.
func (c *Client) Plan(ctx context.Context) (Plan, error) {
	return post[Plan](ctx, c, "/v1/plan", nil)
}
