// Package cli is hubpipe's command line: the verbs, a file each. It is the one
// place that knows all packages; `up` and `demo` are put together here.
package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Exit codes of hubpipe. A service that is told to stop (up, daemon, worker,
// simulator) ends with ExitOK, and so does a verb whose reader has had enough (a
// pipe into head); any other verb that does not come to its end, by a signal or
// because its terminal has gone, with ExitInterrupted.
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
	// Hangup delivers a value for each SIGHUP: up and daemon read their
	// configuration again, the worker goes on, every other verb ends, since its
	// terminal has gone. Not so when it is Detached, as by nohup.
	Hangup   <-chan struct{}
	Detached bool
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
	ctx, stop := context.WithCancel(ctx)
	out := &outlet{w: env.Stdout, lost: stop}
	c := &command{env: env, terminal: isTerminal(env.Stdout), stop: stop}
	if c.terminal {
		c.tty, _ = env.Stdout.(*os.File)
	}
	c.env.Stdout = out
	root := c.root() //nolint:contextcheck // the verbs use their command's
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(out)
	root.SetErr(env.Stderr)
	completion(root)
	verb, err := root.ExecuteContextC(ctx)
	code := exitCode(ctx, err)
	if lost := out.lostBy(); lost != nil {
		code, err = untaken(lost, code, err, verb)
	}
	stop()
	c.watching.Wait()
	if err != nil && !errors.Is(err, errReported) && code != ExitInterrupted {
		c.printError(err)
	}
	return code
}

// outlet is stdout; when nobody reads it any more the verb ends.
type outlet struct {
	w    io.Writer
	lost context.CancelFunc
	gone atomic.Pointer[error]
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if err != nil {
		o.gone.CompareAndSwap(nil, &err)
		o.lost()
	}
	return n, err
}

// lostBy is why nothing can be written any more, nil while it can.
func (o *outlet) lostBy() error {
	if err := o.gone.Load(); err != nil {
		return *err
	}
	return nil
}

// untaken is how a verb ends whose output was not taken.
func untaken(lost error, code int, err error, verb *cobra.Command) (int, error) {
	switch gone := errors.Is(lost, syscall.EIO); {
	case errors.Is(lost, syscall.EPIPE) && verb.Annotations[judging] == "":
		if err == nil || code == ExitInterrupted || errors.Is(err, syscall.EPIPE) {
			return ExitOK, nil // who reads has had enough
		}
		return code, err
	case gone, errors.Is(lost, syscall.EPIPE), code == ExitOK && errors.Is(lost, os.ErrClosed):
		return ExitInterrupted, err
	}
	return ExitFailure, fmt.Errorf("write the output: %w", lost) // a full disk, say
}

// judging marks the verbs whose exit code is a judgement, such as that a backup
// is whole: one that was not read to its end is none.
const judging = "judging"

func exitCode(ctx context.Context, err error) int {
	var e *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.code
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EIO)):
		return ExitInterrupted
	case errors.Is(err, client.ErrUnreachable):
		return ExitUnreachable
	}
	return ExitFailure
}

func (c *command) printError(err error) {
	w := c.env.Stderr
	var p *client.Problem
	isProblem := errors.As(err, &p)
	if isProblem && p.Type == client.TypeUnauthorized && c.asked != "" {
		c.printUnauthorized()
		return
	}
	fmt.Fprintf(w, "hubpipe: %v\n", err)
	_, unsigned := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case unsigned && c.ca == "":
		fmt.Fprintln(w, "  hint: name who signed it with --ca FILE, the PEM file of the authority (docs/SECURITY.md)")
	case unsigned:
		fmt.Fprintln(w, "  hint: --ca is not who signed it, or the address is not one of the certificate's names")
	case errors.Is(err, http.ErrSchemeMismatch):
		fmt.Fprintln(w, "  hint: that daemon speaks no TLS: write the address with http://, without --ca")
	case isProblem && p.Hint != "":
		fmt.Fprintf(w, "  hint: %s\n", p.Hint)
	case errors.Is(err, client.ErrUnreachable) && c.addr != "":
		fmt.Fprintln(w, "  hint: is it running there? `hubpipe up` says its address when it is ready")
	case errors.Is(err, client.ErrUnreachable):
		fmt.Fprintln(w, "  hint: start it with `hubpipe up`, or name another one with --addr")
	}
}

// printUnauthorized says which token was not the daemon's: the API can only
// speak of headers.
func (c *command) printUnauthorized() {
	w := c.env.Stderr
	_, given := c.env.Getenv(tokenVariable)
	switch {
	case c.addr != "" && !given:
		fmt.Fprintf(w, "hubpipe: the daemon at %s asks for its token\n  hint: set %s to what `hubpipe token` prints where that daemon runs\n", c.asked, tokenVariable)
	case c.addr != "":
		fmt.Fprintf(w, "hubpipe: the token in %s is not that of the daemon at %s\n  hint: set it to what `hubpipe token` prints where that daemon runs\n", tokenVariable, c.asked)
	case c.unread != nil:
		fmt.Fprintf(w, "hubpipe: the daemon at %s asks for its token, and this user has none: %v\n"+
			"  hint: run this as the user of the daemon, or give --addr, with a token in %s\n", c.asked, c.unread, tokenVariable)
	default:
		fmt.Fprintf(w, "hubpipe: another daemon is at %s: it does not take the token of this configuration's data folder\n"+
			"  hint: name the one you mean by --config, or this one by --addr, with its token in %s\n", c.asked, tokenVariable)
	}
}

// tokenVariable holds the token of a daemon that --addr names.
const tokenVariable = "HUBPIPE_TOKEN"

// command holds the flags that all verbs share.
type command struct {
	env    Env
	config string
	addr   string
	output string
	level  string
	json   bool // the log is JSON
	plain  bool // lines rather than a dashboard

	ca, certificate, key string // PEM files, for --addr

	asked    string   // the address of the daemon that was asked
	unread   error    // why its token in the data folder could not be read
	terminal bool     // stdout is one
	tty      *os.File // stdout, where it is a terminal
	stop     context.CancelFunc
	watching sync.WaitGroup     // for a hangup
	unwatch  context.CancelFunc // ends that; nil where nobody watches
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hubpipe",
		Short: "Copies everything in HubSpot into its own store, every five minutes or faster",
		Long: `Copies everything in HubSpot into its own store, every five minutes or faster.

Without a verb, on a terminal, it opens the dashboard of the daemon that runs,
and offers to start one where none does.

Data goes to stdout, all else to stderr. Exit codes: 0 ok, 1 failure, 2 usage,
3 configuration, 4 daemon unreachable, 130 interrupted. SIGTERM and Ctrl-C stop
cleanly, a second one at once; SIGHUP makes up and daemon read their
configuration again.`,
		Version:       c.env.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noVerb(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.welcome(cmd)
		},
		PersistentPreRunE: c.before,
	}
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&c.config, "config", "", "configuration file (hubpipe.hcl)")
	f.StringVar(&c.level, "log-level", "", "trace, debug, info, warn or error")
	root.AddCommand(c.up(), c.daemon(), c.worker(), c.demo(), c.dashboard(),
		c.status(), c.streams(), c.start(), c.stopStream(), c.sync(), c.resync(), c.reconcile(), c.erase(),
		c.records(), c.explain(), c.preview(), c.changes(), c.export(), c.runs(), c.workers(), c.destinations(), c.dbt(),
		c.usage(), c.notify(), c.logLevel(), c.initVerb(), c.check(), c.plan(), c.doctor(), c.backup(), c.restore(),
		c.simulator(), c.token(), c.broker(), c.man(), c.version())
	for _, sub := range root.Commands() {
		sub.Args = namedArgs
		for _, below := range sub.Commands() {
			below.Args = namedArgs
		}
	}
	root.SetHelpCommand(help(root))
	return root
}

// before is what holds for every verb: no flag is empty, the log level exists,
// and the verb ends with its terminal unless it is a service.
func (c *command) before(cmd *cobra.Command, _ []string) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && f.Value.String() == "" && err == nil {
			err = usageError("--%s is empty\n  usage: %s", f.Name, cmd.UseLine())
		}
	})
	if err != nil {
		return err
	}
	if c.level != "" && hclog.LevelFromString(c.level) == hclog.NoLevel {
		return badLevel(c.level)
	}
	if cmd.Annotations[service] != "" || c.env.Hangup == nil || c.env.Detached {
		return nil
	}
	ctx, unwatch := context.WithCancel(cmd.Context())
	c.unwatch = unwatch
	c.watching.Go(func() {
		select {
		case <-c.env.Hangup:
			c.stop()
		case <-ctx.Done():
		}
	})
	return nil
}

// outlives has a hangup no longer end the verb: it has become a service.
func (c *command) outlives() {
	if c.unwatch != nil {
		c.unwatch()
		c.watching.Wait()
	}
}

// service marks the verbs that outlive their terminal.
const service = "service"

func services() map[string]string { return map[string]string{service: "yes"} }

func badLevel(level string) error {
	return usageError("--log-level is trace, debug, info, warn or error, not %q", level)
}

// logger writes to stderr; colour only on a terminal.
func (c *command) logger(def string) (hclog.Logger, error) {
	level := cmp.Or(c.level, def)
	if hclog.LevelFromString(level) == hclog.NoLevel {
		return nil, badLevel(level)
	}
	color := hclog.ColorOff
	if isTerminal(c.env.Stderr) {
		if _, no := c.env.Getenv("NO_COLOR"); !no {
			color = hclog.AutoColor
		}
	}
	return hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "hubpipe", Level: hclog.LevelFromString(level), Output: c.env.Stderr,
		JSONFormat: c.json, Color: color, TimeFormat: "2006-01-02T15:04:05.000Z07:00"}), nil
}

func (c *command) version() *cobra.Command {
	form := ""
	cmd := &cobra.Command{Use: "version", Short: "Print the version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", form, "table", "json"); err != nil {
				return err
			}
			c.output = form
			return c.show(map[string]string{"version": c.env.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH},
				func(w io.Writer) error {
					_, err := fmt.Fprintln(w, c.env.Version)
					return err
				})
		}}
	cmd.Flags().StringVarP(&form, "output", "o", "table", "table (the version alone) or json")
	return cmd
}

// isTerminal tells whether what is printed is read by a person.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
