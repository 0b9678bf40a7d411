package daemon

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/notify"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/durable"
)

const (
	// noticeEvery is how often the notifier looks at what is wrong.
	noticeEvery = 5 * time.Second
	// leastLag is the shortest lag that is called stale where none is set: a
	// stream that runs each second is not stale after three.
	leastLag = time.Minute
)

// notifier tells the targets of the configuration what is wrong.
type notifier struct {
	d    *Daemon
	path string

	mu      sync.Mutex // guards all below
	targets []config.Notify
	maxLag  map[string]time.Duration // by stream, where one is set
	states  map[string]*notify.State // by target
	saved   []byte
}

// startNotifier begins to look, with what was told before the last end.
func (d *Daemon) startNotifier(_, own context.Context) error {
	n := &notifier{d: d, path: filepath.Join(d.o.Config.DataDir, "notify.json"),
		states: map[string]*notify.State{}}
	if b, err := os.ReadFile(n.path); err == nil {
		if err := json.Unmarshal(b, &n.states); err != nil {
			// At worst something is told twice.
			d.log.Warn("what was told to people does not decode and is forgotten", "file", n.path, "error", err)
			n.states = map[string]*notify.State{}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("what was told to people cannot be read", "error", err)
	}
	n.set(d.o.Config)
	d.notifier = n
	d.background(own, "stop notifying", n.run)
	return nil
}

// set takes over a configuration.
func (n *notifier) set(c *config.Config) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.targets = c.Notify
	n.maxLag = map[string]time.Duration{}
	for _, s := range c.Streams {
		if s.MaxLag > 0 {
			n.maxLag[s.Name] = s.MaxLag
		}
	}
	for name := range n.states {
		if !slices.ContainsFunc(c.Notify, func(t config.Notify) bool { return t.Name == name }) {
			delete(n.states, name)
		}
	}
}

func (n *notifier) run(ctx context.Context) {
	t := time.NewTicker(noticeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			n.mu.Lock()
			idle := len(n.targets) == 0
			n.mu.Unlock()
			if !idle {
				n.look(ctx, time.Now())
			}
		}
	}
}

// look sends what is due. Targets are sent to side by side, so that one that
// does not answer holds up no other by more than its own bound.
func (n *notifier) look(ctx context.Context, now time.Time) {
	wrong, unknown, err := n.wrong(ctx)
	if err != nil {
		return // a daemon that is ending has nothing to tell
	}
	n.mu.Lock()
	var due []func()
	for _, t := range n.targets {
		if t.Problem != "" {
			continue
		}
		s := n.states[t.Name]
		if s == nil {
			s = &notify.State{}
			n.states[t.Name] = s
		}
		m := s.Step(now, notify.Rule{On: t.On, After: t.After}, append(stillOpen(s, unknown), wrong...))
		if m == nil {
			continue
		}
		m.Target = t.Name
		due = append(due, func() {
			err := target(t).Send(ctx, m)
			n.mu.Lock()
			defer n.mu.Unlock()
			if was := s.Failed; err != nil && was == 0 {
				n.d.log.Warn("people could not be told; it is tried again", "notify", t.Name, "error", err)
			} else if err == nil && was > 0 {
				n.d.log.Info("people can be told again", "notify", t.Name)
			}
			s.Delivered(now, m, err)
		})
	}
	n.mu.Unlock()
	var wg sync.WaitGroup
	for _, f := range due {
		wg.Go(f)
	}
	wg.Wait()
	n.save()
}

func target(t config.Notify) notify.Target {
	return notify.Target{Webhook: t.Webhook.Reveal(), Plain: t.Format == "json", Exec: t.Exec}
}

// save keeps what was told, so that a restart tells nothing twice.
func (n *notifier) save() {
	n.mu.Lock()
	defer n.mu.Unlock()
	b, err := json.Marshal(n.states)
	if err != nil || bytes.Equal(b, n.saved) {
		return
	}
	if err := durable.Replace(n.path, b); err != nil {
		n.d.log.Debug("keep what was told to people", "error", err)
		return
	}
	n.saved = b
}

// unknown are the destinations and streams of which it is not known how they
// stand.
type unknown struct{ destinations, streams map[string]bool }

// of tells whether it is not known yet if a condition goes on. Of a stream that is
// so of what its runs meet alone; all else is known without them.
func (u unknown) of(c notify.Condition) bool {
	switch c.Kind {
	case notify.Destination:
		return u.destinations[c.Subject]
	case notify.Failing, notify.Blocked:
		return u.streams[c.Subject]
	}
	return false
}

// stillOpen is what was wrong and of which it is not known yet whether it ended.
func stillOpen(s *notify.State, u unknown) (out []notify.Condition) {
	for _, o := range s.Open {
		if o.Until == nil && u.of(o.Condition) {
			out = append(out, o.Condition)
		}
	}
	return out
}

// wrong is all that is wrong now, and what is not known: destinations that have
// been neither reached nor given up since they began, and streams with a run of
// which no worker has told yet how it gets on.
func (n *notifier) wrong(ctx context.Context) (out []notify.Condition, u unknown, err error) {
	if err := n.d.loop.Err(); err != nil {
		out = append(out, notify.Condition{Kind: notify.Disk, Subject: "daemon", Title: "the store cannot be written", Detail: err.Error(),
			Hint: "make room on the disk of " + n.d.o.Config.DataDir})
	}
	u = unknown{destinations: map[string]bool{}, streams: map[string]bool{}}
	for _, s := range n.d.destinations.Status(ctx) {
		out = append(out, wrongWithDestination(s)...)
		u.destinations[s.Name] = s.State == destination.Running && !s.Reached
	}
	n.mu.Lock()
	maxLag := n.maxLag
	n.mu.Unlock()
	err = n.d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		for _, name := range x.Names() {
			if v, err := x.View(now, name); err == nil {
				out = append(out, wrongWith(n.d.status(v, now), v.Stream, maxLag[name])...)
				u.streams[name] = v.Unheard
			}
		}
		return nil
	})
	return out, u, err
}

// wrongWith is what is wrong with a stream. One that was stopped is as somebody
// wanted it.
func wrongWith(st client.Status, s *stream.Stream, maxLag time.Duration) (out []notify.Condition) {
	if st.State == client.StateStopped {
		return nil
	}
	is := func(kind, title, detail, hint string) {
		out = append(out, notify.Condition{Kind: kind, Subject: st.Name, Title: title, Detail: detail, Hint: hint})
	}
	if e := st.Error; e != nil && e.Type != dispatch.TooManyDeletes {
		if kind := map[string]string{client.StateBlocked: notify.Blocked, client.StateFailing: notify.Failing}[st.State]; kind != "" {
			is(kind, e.Title, e.Detail, e.Hint)
		}
	}
	if b := s.Brake; b != nil { // it holds, whatever error stands before it in the status
		is(notify.Brake, b.Title, b.Detail, b.Hint)
	}
	if bound := lagBound(st, maxLag); bound > 0 && st.LagSeconds != nil && time.Duration(*st.LagSeconds)*time.Second > bound {
		is(notify.Stale, "its lag is above "+config.FormatDuration(bound), "", "see `hubpipe status "+st.Name+"`")
	}
	if len(s.Vanished) > 0 {
		names := slices.Sorted(maps.Keys(s.Vanished))
		is(notify.Schema, "properties have vanished from HubSpot's definitions, or are hidden from the token; their last values stay",
			strings.Join(names[:min(len(names), 10)], ", "), "see `hubpipe status "+st.Name+"`")
	}
	return out
}

// wrongWithDestination is what is wrong with a destination: with all of it, or
// with one of the streams that it follows. One that is paused is as somebody
// wanted it.
func wrongWithDestination(s destination.Status) []notify.Condition {
	if s.State != destination.Blocked && s.State != destination.Failing {
		return nil
	}
	c := notify.Condition{Kind: notify.Destination, Subject: s.Name, Title: "the destination is " + s.State, Hint: "see `hubpipe destinations`"}
	p, of := s.Error, ""
	for i := 0; p == nil && i < len(s.Streams); i++ {
		p, of = s.Streams[i].Error, s.Streams[i].Stream+": "
	}
	if p != nil {
		c.Title, c.Detail = of+p.Title, p.Detail
		c.Hint = cmp.Or(p.Hint, c.Hint)
	}
	return []notify.Condition{c}
}

// lagBound is above which lag a stream is stale: what is set, else three
// intervals; 0 where a cron expression says when it runs and nothing is set.
func lagBound(st client.Status, set time.Duration) time.Duration {
	if set > 0 {
		return set
	}
	every, err := config.ParseDuration(st.EffectiveInterval)
	if err != nil || every <= 0 {
		return 0
	}
	return max(3*every, leastLag)
}

// Notifications is how the targets stand.
func (d *Daemon) Notifications(context.Context) ([]client.Notification, error) {
	n := d.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []client.Notification{}
	for _, t := range n.targets {
		v := client.Notification{Name: t.Name, On: t.On, After: config.FormatDuration(t.After), Problem: t.Problem, Open: []client.NotifyEvent{}}
		if len(v.On) == 0 {
			v.On = notify.Kinds()
		}
		if s := n.states[t.Name]; s != nil {
			v.Failed = s.Failed
			if !s.Sent.IsZero() {
				at := s.Sent.UTC()
				v.Sent = &at
			}
			for _, o := range s.Open {
				v.Open = append(v.Open, client.NotifyEvent{Kind: o.Kind, Subject: o.Subject, Title: o.Title, Since: o.Since.UTC(), Told: o.Told})
			}
			slices.SortFunc(v.Open, func(a, b client.NotifyEvent) int { return strings.Compare(a.Kind+" "+a.Subject, b.Kind+" "+b.Subject) })
		}
		out = append(out, v)
	}
	return out, nil
}

// TestNotification sends a message that says that it is a test.
func (d *Daemon) TestNotification(ctx context.Context, name string) error {
	n := d.notifier
	n.mu.Lock()
	i := slices.IndexFunc(n.targets, func(t config.Notify) bool { return t.Name == name })
	var t config.Notify
	if i >= 0 {
		t = n.targets[i]
	}
	n.mu.Unlock()
	if i < 0 {
		return &client.Problem{Type: client.TypeNotFound, Title: "there is no such notify block", Status: 404, Detail: "notify " + name,
			Hint: "`hubpipe notify` lists them; a new one is there after a reload"}
	}
	if t.Problem != "" {
		return &client.Problem{Type: "notify-blocked", Title: "it cannot be used", Status: 409, Detail: t.Problem, Hint: "set the variable and restart the daemon"}
	}
	if err := target(t).Send(ctx, &notify.Message{Target: name, Test: true, Began: []notify.Event{}, Ended: []notify.Event{}}); err != nil {
		return &client.Problem{Type: "notify-failed", Title: "the message did not arrive", Status: 502, Detail: err.Error()}
	}
	return nil
}
