// Package cli is hubpipe's command line: the verbs, a file each. It is the one
// place that knows all packages; `up` and `demo` are put together here.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Exit codes of hubpipe. 130 stands for interrupted.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitUsage       = 2
	ExitConfig      = 3
	ExitUnreachable = 4
	ExitInterrupted = 130
)

// Env is what a command gets from outside, so that tests can give it.
type Env struct {
	Args    []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) (string, bool)
	Version string
	// Reload delivers a value for each SIGHUP.
	Reload <-chan struct{}
}

// exitError carries the exit code that belongs to an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func configError(err error) error { return &exitError{ExitConfig, err} }

func usageError(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

// errReported is an error whose text has been printed already.
var errReported = errors.New("reported")

// Run executes the command line and returns the exit code. Data goes to
// Stdout, all else to Stderr.
func Run(ctx context.Context, env Env) int {
	c := &command{env: env}
	root := c.root() //nolint:contextcheck // the verbs use their command's
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(ctx)
	code := exitCode(ctx, err)
	if err != nil && !errors.Is(err, errReported) && code != ExitInterrupted {
		printError(env.Stderr, err)
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	var e *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, client.ErrUnreachable):
		return ExitUnreachable
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitFailure
}

func printError(w io.Writer, err error) {
	fmt.Fprintf(w, "hubpipe: %v\n", err)
	var p *client.Problem
	switch {
	case errors.As(err, &p) && p.Hint != "":
		fmt.Fprintf(w, "  hint: %s\n", p.Hint)
	case errors.Is(err, client.ErrUnreachable):
		fmt.Fprintln(w, "  hint: start it with `hubpipe up`, or name another one with --addr")
	}
}

// command holds the flags that all verbs share.
type command struct {
	env    Env
	config string
	addr   string
	output string
	level  string
	json   bool // the log is JSON
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "hubpipe",
		Short:         "Copies everything in HubSpot into its own store, every five minutes or faster",
		Version:       c.env.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("there is no verb %q\n  hint: see `hubpipe --help`", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%w\n  hint: see `%s --help`", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&c.config, "config", "", "configuration file (hubpipe.hcl)")
	f.StringVar(&c.level, "log-level", "", "debug, info, warn or error")
	root.AddCommand(c.up(), c.daemon(), c.worker(), c.demo(), c.status(), c.streams(), c.start(), c.stop(), c.sync(),
		c.resync(), c.reconcile(), c.records(), c.runs(), c.workers(), c.check(), c.simulator(), c.token(), c.version())
	for _, sub := range root.Commands() {
		if args := sub.Args; args != nil {
			sub.Args = func(cmd *cobra.Command, got []string) error {
				if err := args(cmd, got); err != nil {
					return usageError("%w\n  hint: %s", err, cmd.UseLine())
				}
				return nil
			}
		}
	}
	return root
}

// logger writes to stderr; colour only on a terminal.
func (c *command) logger(def string) (hclog.Logger, error) {
	level := cmp.Or(c.level, def)
	if hclog.LevelFromString(level) == hclog.NoLevel {
		return nil, usageError("--log-level is trace, debug, info, warn or error, not %q", level)
	}
	color := hclog.ColorOff
	if f, ok := c.env.Stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if _, no := c.env.Getenv("NO_COLOR"); !no {
			color = hclog.AutoColor
		}
	}
	return hclog.New(&hclog.LoggerOptions{Name: "hubpipe", Level: hclog.LevelFromString(level), Output: c.env.Stderr,
		JSONFormat: c.json, Color: color, TimeFormat: "2006-01-02T15:04:05.000Z07:00"}), nil
}

func (c *command) version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), c.env.Version)
			return err
		}}
}

// onTerminal tells whether what is printed is read by a person.
func (c *command) onTerminal() bool {
	f, ok := c.env.Stdout.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
