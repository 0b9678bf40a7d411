package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// offlineDaemon is a daemon with a store and a loop that has begun, and with
// nothing that listens. Its only stream is due.
func offlineDaemon(t *testing.T, o store.Options) *Daemon {
	t.Helper()
	return begunDaemon(t, o, true)
}

// restingDaemon is one whose only stream stands, so that the loop writes nothing:
// a store has one writer, and here that is the test.
func restingDaemon(t *testing.T, o store.Options) *Daemon {
	t.Helper()
	return begunDaemon(t, o, false)
}

func begunDaemon(t *testing.T, o store.Options, active bool) *Daemon {
	t.Helper()
	log := hclog.NewNullLogger()
	o.Dir, o.Logger = filepath.Join(t.TempDir(), "store"), log
	st, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	every, _, err := parseInterval("5m")
	if err != nil {
		t.Fatal(err)
	}
	streams := []dispatch.StreamConfig{{Name: "contacts", Portal: "main", Object: "contacts", Interval: "5m", Schedule: every}}
	x := dispatch.New(time.Now(), storeAdapter{st}, dispatch.Ledger{Streams: []*stream.Stream{{Name: "contacts", Portal: "main", Object: "contacts", Active: active}}},
		streams, dispatch.Options{ParseInterval: parseInterval})
	d := &Daemon{o: Options{Config: &config.Config{}}, log: log, store: st, topics: protocol.Topics{Prefix: "hubpipe"}, process: "p"}
	d.loop = dispatch.NewLoop(dispatch.LoopOptions{Dispatcher: x, Logger: log, Send: func(dispatch.Out) {}})
	d.loop.Start()
	t.Cleanup(d.loop.Stop)
	return d
}

// A disk that is full makes the daemon not ready; it lives, and needs no
// restart.
func TestFullDiskIsNoIllness(t *testing.T) {
	t.Parallel()
	d := offlineDaemon(t, store.Options{FreeMark: 1 << 62})
	if _, err := d.Streams(t.Context()); err != nil { // the loop has tried by now
		t.Fatal(err)
	}
	if err := d.Ready(); !errors.Is(err, store.ErrFull) {
		t.Errorf("ready: %v", err)
	}
	if err := d.Live(); err != nil {
		t.Errorf("live: %v", err)
	}
}

// A store that has lost nothing says nothing of what it has lost, whatever its disk.
func TestNothingLostOnAFullDisk(t *testing.T) {
	t.Parallel()
	d := restingDaemon(t, store.Options{FreeMark: 1 << 62})
	var said strings.Builder
	d.log = hclog.New(&hclog.LoggerOptions{Output: &said})
	if d.mendStore(t.Context()); said.Len() > 0 {
		t.Error(said.String())
	}
}

func TestUnknownRunIsTheAPIsToExplain(t *testing.T) {
	t.Parallel()
	d := offlineDaemon(t, store.Options{})
	if _, err := d.Run(t.Context(), "r999"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	d.Closing(t.Context())
	for name, f := range map[string]func(context.Context) error{
		"start": func(ctx context.Context) error { _, err := d.StartStream(ctx, "contacts", ""); return err },
		"sync":  func(ctx context.Context) error { _, err := d.Sync(ctx, "contacts", ""); return err },
	} {
		if err := f(t.Context()); !errors.Is(err, dispatch.ErrStopped) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The last will is made before the port is open.
func TestStatusNamesTheAddress(t *testing.T) {
	t.Parallel()
	d := offlineDaemon(t, store.Options{})
	for listen, want := range map[string]string{"127.0.0.1:8377": "127.0.0.1:8377", "127.0.0.1:0": "", "": ""} {
		d.o.Config.HTTP.Listen = listen
		s, err := protocol.Unmarshal[protocol.DaemonStatus](d.statusPayload("offline"))
		if err != nil || s.Address != want || s.Lacks != nil {
			t.Errorf("%q: %+v, %v", listen, s, err)
		}
	}
	d.brokerSays.Store(&broker.ConnInfo{MaxQoS: 1, SessionExpiry: time.Hour})
	if s, err := protocol.Unmarshal[protocol.DaemonStatus](d.statusPayload("online")); err != nil || len(s.Lacks) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}

var _ api.Health = (*Daemon)(nil)

// A stream with a cron schedule shows it, until somebody sets an interval.
func TestACronScheduleIsShown(t *testing.T) {
	t.Parallel()
	r := newReloading(t, `
stream "contacts" {
  cron = "*/5 * * * *"
  autostart = false
}
`)
	s, err := r.Stream(t.Context(), "contacts")
	if err != nil || s.Cron != "*/5 * * * *" || s.Interval != "" {
		t.Errorf("cron %q, interval %q, %v", s.Cron, s.Interval, err)
	}
	if s, err = r.StartStream(t.Context(), "contacts", "1h"); err != nil || s.Cron != "" || s.Interval != "1h" {
		t.Errorf("with an interval of somebody's: cron %q, interval %q, %v", s.Cron, s.Interval, err)
	}
}
