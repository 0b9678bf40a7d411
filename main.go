// Command hubpipe copies everything in a company's HubSpot into its own store
// and the company's data warehouse. This file holds signals and exit codes;
// the verbs are in internal/cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/hubpipe/hubpipe/internal/cli"
)

func main() { os.Exit(run()) }

// run executes the command line. The first signal stops cleanly, the second at
// once.
func run() int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		os.Exit(cli.ExitInterrupted)
	}()
	// Whoever stops reading ends a verb by an error, which cleans up; the signal
	// would end it where it stands.
	signal.Ignore(syscall.SIGPIPE)
	detached := signal.Ignored(syscall.SIGHUP) // by nohup
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	hangup := make(chan struct{}, 1)
	go func() {
		for range hangups {
			select {
			case hangup <- struct{}{}:
			default:
			}
		}
	}()
	return cli.Run(ctx, cli.Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.LookupEnv, Version: version(), Hangup: hangup, Detached: detached})
}

// version is the module's, as the build knows it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
