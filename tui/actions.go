package tui

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Bounds of what is asked of the daemon at a time.
const (
	actTimeout = 5 * time.Second
	actAtOnce  = 4
)

// resultMsg is what became of an action.
type resultMsg struct {
	act      action
	names    []string
	statuses []client.Status
	runs     []string
	failed   map[string]error
	err      error // of what is no stream's
}

// doing is the word for what is under way.
func (a action) doing() string {
	switch a {
	case actStart:
		return "starting"
	case actStop, actInsist:
		return "stopping"
	case actSync:
		return "syncing"
	}
	return "asking"
}

// ask does what a key asks for, or says why it cannot, or asks back.
func (m *model) ask(act action) tea.Cmd {
	if why := m.readOnly(); why != "" {
		m.complain("no %s: %s", act, why)
		return nil
	}
	if m.screen == screenDestinations {
		return m.askDestination(act)
	}
	if m.screen != screenStreams && m.screen != screenDetail && (m.screen != screenLogs || m.log.stream == "") {
		m.complain("no %s here: go to a stream first (%s)", act, m.on(actBack))
		return nil
	}
	names := m.targets()
	if len(names) == 0 {
		m.complain("no %s: there is no stream", act)
		return nil
	}
	if len(names) == 1 {
		r := m.pic.streams[names[0]]
		if why := m.useless(act, r); why != "" {
			m.say("%s %s", r.Name, why)
			return nil
		}
	}
	return m.confirm(act, names)
}

// useless says why an action would do nothing, "" where it would do something.
func (m *model) useless(act action, r *row) string {
	word := m.pending[r.Name].word
	switch {
	case act == actInsist && word != actStop.doing():
		return "is not stopping (" + m.on(actStop) + " stops it)"
	case act == actInsist:
		return ""
	case word != "":
		return "is " + word + " already"
	case act == actStart && r.State != client.StateStopped && (r.Run != nil || r.State == client.StateWaiting) && r.Error == nil:
		return "is started already (" + m.on(actSync) + " syncs it now)"
	case act == actStop && r.State == client.StateStopped:
		return "is stopped already (" + m.on(actStart) + " starts it)"
	}
	return ""
}

// confirm opens a dialog for what is hard to undo, and does the rest at once.
func (m *model) confirm(act action, names []string) tea.Cmd {
	what := named(names)
	list := ""
	if len(names) > 1 {
		list = shortList(names, 6)
	}
	switch {
	case act == actStop && len(names) > 1:
		m.dialog = &dialog{title: "stop " + what, text: []string{list, "ends their schedules and what runs; what was stored stays"}}
	case act == actReconcile:
		m.dialog = &dialog{title: "reconcile " + what, text: []string{list, "reads the list of everything in HubSpot and asks for what is missing there;",
			"costs about " + m.calls(names) + " requests"}}
	case act == actResync:
		typed := names[0]
		if len(names) > 1 {
			typed = strconv.Itoa(len(names))
		}
		m.dialog = &dialog{title: "resync " + what, typed: typed, text: []string{list, "reads everything again; what is stored stays until it is replaced;",
			"costs about " + m.calls(names) + " requests"}}
	default:
		return m.begin(act, names)
	}
	m.dialog.input = newInput()
	m.dialog.yes = func() tea.Cmd { return m.begin(act, names) }
	return nil
}

// calls estimates the requests of a walk: a list gives a hundred at a time.
func (m *model) calls(names []string) string {
	n := uint64(0)
	for _, name := range names {
		if r := m.pic.streams[name]; r != nil {
			n += r.Records/100 + 1
		}
	}
	return thousands(n)
}

// begin sends an action for each of the streams and marks them until the answer
// is there.
func (m *model) begin(act action, names []string) tea.Cmd {
	if why := m.readOnly(); why != "" { // the daemon may have gone while it was asked
		m.complain("no %s: %s", act, why)
		return nil
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		word := m.pending[n].word
		if act == actInsist {
			return word != act.doing()
		}
		return word != ""
	})
	if len(names) == 0 {
		return nil
	}
	for _, n := range names {
		m.pending[n] = waiting{act.doing(), m.now, false}
	}
	clear(m.list.marks)
	a := m.api
	return m.spawn(func(ctx context.Context) tea.Msg { return perform(ctx, a, act, names) })
}

// perform does an action for each stream, a few at a time.
func perform(ctx context.Context, a api, act action, names []string) resultMsg {
	res := resultMsg{act: act, names: names, failed: map[string]error{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, actAtOnce)
	for _, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, actTimeout)
			defer cancel()
			status, run, err := one(ctx, a, act, name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				res.failed[name] = fmt.Errorf("no answer within %s: it may be done all the same", actTimeout)
			case err != nil:
				res.failed[name] = err
			case status.Name != "":
				res.statuses = append(res.statuses, status)
			case run != "":
				res.runs = append(res.runs, run)
			}
		})
	}
	wg.Wait()
	return res
}

func one(ctx context.Context, a api, act action, name string) (st client.Status, run string, err error) {
	switch act {
	case actStart:
		st, err = a.Start(ctx, name, "")
	case actStop, actInsist:
		st, err = a.Stop(ctx, name)
	case actSync:
		run, err = a.Sync(ctx, name, "")
	case actResync:
		run, err = a.Resync(ctx, name)
	case actReconcile:
		run, err = a.Reconcile(ctx, name, false)
	default:
		err = fmt.Errorf("%s is nothing that a stream does", act)
	}
	return st, run, err
}

// result takes in what became of an action.
func (m *model) result(r resultMsg) {
	for _, n := range r.names {
		delete(m.pending, n)
	}
	for _, s := range r.statuses {
		m.pic.stream(s, m.now, true)
		m.list.stale = true
	}
	switch {
	case r.err != nil:
		m.complain("%s: %s", r.act, explain(r.err))
	case len(r.failed) == 1:
		for name, err := range r.failed {
			m.complain("%s of %s: %s", r.act, name, explain(err))
		}
	case len(r.failed) > 1:
		names := slices.Sorted(maps.Keys(r.failed))
		m.complain("%s failed for %s: %s", r.act, shortList(names, 3), explain(r.failed[names[0]]))
	case len(r.names) == 0:
		m.say("%s: done", r.act)
	case r.act == actStop || r.act == actInsist:
		m.say("%s stopped (%s starts it again)", named(r.names), m.on(actStart))
	case r.act == actStart:
		m.say("%s started", named(r.names))
	case len(r.runs) == 1:
		m.say("%s of %s: run %s", r.act, named(r.names), r.runs[0])
	default:
		m.say("%s of %s began", r.act, named(r.names))
	}
}

// explain is an error with what to do about it.
func explain(err error) string {
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Hint != "" {
		return p.Error() + " (" + p.Hint + ")"
	}
	return err.Error()
}

// command does what was typed after a colon.
func (m *model) command(text string) tea.Cmd {
	word, rest, _ := cutSpace(text)
	switch word {
	case "":
		return nil
	case "q", "quit":
		m.leaves = true
		return nil
	case "theme":
		if !slices.Contains(Themes(), rest) {
			m.complain("themes are %s", shortList(Themes(), 9))
			return nil
		}
		m.paint(rest)
		return nil
	}
	verbs := map[string]action{"start": actStart, "stop": actStop, "sync": actSync, "reconcile": actReconcile, "resync": actResync}
	act, isVerb := verbs[word]
	switch {
	case !isVerb && word != "reload" && word != "shutdown":
		m.complain("there is no command %q; %s shows those that there are", word, m.on(actPalette))
		return nil
	case m.readOnly() != "":
		m.complain("no %s: %s", word, m.readOnly())
		return nil
	case word == "reload":
		return m.global("reload", func(ctx context.Context) error {
			_, err := m.api.Reload(ctx)
			return err
		})
	case word == "shutdown":
		m.dialog = &dialog{title: "shut down the daemon", typed: "shutdown", input: newInput(), text: []string{"nothing is fetched until someone starts it again;", "what runs is continued then"},
			yes: func() tea.Cmd { return m.global("shutdown", m.api.Shutdown) }}
		return nil
	}
	names := []string{rest}
	switch {
	case rest == client.All:
		names = slices.Sorted(maps.Keys(m.pic.streams))
	case rest == "":
		names = m.targets()
	case m.pic.streams[rest] == nil:
		m.complain("there is no stream %q", rest)
		return nil
	}
	if len(names) == 0 {
		m.complain("no %s: there is no stream", word)
		return nil
	}
	return m.confirm(act, names)
}

// global does what is no stream's.
func (m *model) global(name string, f func(context.Context) error) tea.Cmd {
	return m.spawn(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, actTimeout)
		defer cancel()
		return resultMsg{act: action(name), err: f(ctx)}
	})
}
