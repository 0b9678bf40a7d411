// Package tui is the dashboard: every stream at a glance, what is wrong and what
// to do about it, start and stop under the fingers. It is a client of the HTTP
// API and its events, and nothing more.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Options are what a dashboard is made of.
type Options struct {
	Client *client.Client
	// Version is hubpipe's own: a daemon of another one is only looked at.
	Version string
	// ReadOnly refuses every key that changes something.
	ReadOnly bool
	// Theme is one of Themes; auto, by the terminal's background, by default.
	Theme string
	// Blocks are drawn for rates; without it they are drawn in ASCII.
	Blocks bool
	// Notes are shown before the help.
	Notes []string
	// Keys are other keys than the key map's, by the name of what they do; see
	// Actions.
	Keys map[string][]string
	// File is the configuration that can be edited here, "" for none, and Editor
	// the command for it.
	File   string
	Editor []string

	Input   io.Reader
	Output  io.Writer
	Environ []string
}

// framesPerSecond bounds how often the terminal is written to.
const framesPerSecond = 30

// Run shows the dashboard until it is left, with nil, or ctx ends, with its
// error. The terminal is then as it was before, after a panic too.
func Run(ctx context.Context, o Options) error {
	return run(ctx, o, o.Client, func(ctx context.Context, last uint64) func(func(client.Event, error) bool) {
		return o.Client.Events(ctx, last)
	})
}

func run(ctx context.Context, o Options, a api, events eventSource) error {
	own, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	f := newFeed(a, events, time.Now)
	wg.Go(func() { f.run(own) })
	spawn := func(f func(context.Context) tea.Msg) tea.Cmd {
		return func() tea.Msg { return f(own) }
	}
	m := newModel(o, a, f, spawn, time.Now)
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond)}
	if o.Input != nil {
		options = append(options, tea.WithInput(o.Input))
	}
	if o.Output != nil {
		options = append(options, tea.WithOutput(o.Output))
	}
	if o.Environ != nil {
		options = append(options, tea.WithEnvironment(o.Environ))
	}
	_, err := tea.NewProgram(m, options...).Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, tea.ErrProgramPanic):
		return errors.New("the dashboard failed; the daemon goes on")
	case err != nil:
		return fmt.Errorf("show the dashboard: %w", err)
	}
	return m.err
}
