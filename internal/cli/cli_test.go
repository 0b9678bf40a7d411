package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// outcome is what a command printed and how it ended.
type outcome struct {
	code        int
	out, errors string
}

func try(t *testing.T, vars map[string]string, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	env := Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Version: "test",
		Getenv: func(name string) (string, bool) { v, ok := vars[name]; return v, ok }}
	code := Run(t.Context(), env)
	return outcome{code, out.String(), errs.String()}
}

// configFile writes a configuration into a folder of its own.
func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hubpipe.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	good := configFile(t, fmt.Sprintf("data_dir = %q\nhttp { listen = \"127.0.0.1:9\" }\nportal \"main\" { token = \"x\" }\nstream \"contacts\" {}\n", t.TempDir()))
	for args, says := range map[string]string{
		"start":                             "needs STREAM|all\n  usage: hubpipe start STREAM|all",
		"start a b":                         `does not know what to do with "b"`,
		"start '' ":                         "STREAM|all is empty",
		"start a --every ''":                "--every is empty",
		"start a --every abc":               `"abc" is not a duration`,
		"start a --every 0":                 "the shortest is 1s",
		"start a --every 5":                 "has no unit",
		"start a --every":                   "--every needs a value",
		"sync a --record ''":                "--record is empty",
		"sync all --record 5":               "a record of one stream",
		"status --addr foo":                 "is not the address of a daemon",
		"status --addr ''":                  "--addr is empty",
		"status --addr http://u:s3cr3t@h:1": "--addr takes no credentials",
		"simulator --oauth a:s3cr3t":        "--oauth is an app as client_id:client_secret:refresh_token",
		"simulator --stale-reads 2":         "a share from 0 to 1, not 2",
		"status --bogus":                    "there is no flag --bogus",
		"status -q":                         "there is no flag -q",
		"records a --state foo":             `no value "foo"; there are live`,
		"records a --limit -1":              "how many at most",
		"records a --limit x":               `--limit is a whole number, not "x"`,
		"records a --since yesterday":       "--since is a place in the feed",
		"records a 5 --limit 3":             "--limit selects among records",
		"records a 5 --state all":           "--state selects among records",
		"records a -o xml":                  "there are json, table",
		"changes a --limit -1":              "how many at most",
		"changes a --follow=maybe":          "--follow is true or false",
		"export a --format xlsx":            "there are ndjson, csv",
		"runs --state foo":                  "there are running, done, failed, stopped",
		"check --log-level loud":            "trace, debug, info, warn or error",
		"--log-level loud check":            "trace, debug, info, warn or error",
		"help bogus":                        `there is no verb "bogus"`,
		"statsu":                            `there is no verb "statsu"; did you mean status?`,
		"completion tcsh":                   `no completion for "tcsh"; there are bash`,
		"rec":                               `did you mean reconcile or records?`,
		"help strt":                         `did you mean start or stop?`,
		"runs --limit 0":                    "--limit is 1 to 1000, not 0",
		"runs --limit 1001":                 "--limit is 1 to 1000, not 1001",
		"erase a":                           "takes a stream and the id",
		"token create --role reader --name x -o xml": "--output is table (the token alone) or json",
		"status --addr http://h:1 --ca x":            "are for https, and --addr http://h:1 is not",
		"status --addr ./http.sock --ca x":           "are for https",
		"bogus":                                      `there is no verb "bogus"`,
		"version x":                                  `does not know what to do with "x"`,
		"token create":                               "needs --role",
		"token create --role worker":                 "needs --name",
		"token create --role admin --name x":         `--role has no value "admin"; there are worker, control, reader`,
		"token create --role worker --name A":        "1 to 64 of a-z",
		"token create --role reader --name hubpipe":  "not begin with hubpipe",
		"token revoke":                               "needs NAME",
		"token bogus":                                `does not know what to do with "bogus"`,
		"broker bogus":                               `does not know what to do with "bogus"`,
		"broker acl --for hivemq":                    "mosquitto and emqx",
		"broker acl --worker A":                      "1 to 64 of a-z",
		"status --addr https://h:1 --ca /nowhere":    "read the authority's certificate",
		"status --addr https://h:1 --cert x":         "belong together",
		"worker --name Bad!":                         "1 to 64 of a-z",
		"worker --name a/b":                          "1 to 64 of a-z",
		"worker --name UP":                           "1 to 64 of a-z",
		"worker --name ''":                           "--name is empty",
		"simulator --contacts -5":                    "0 to 10000000 of contacts, not -5",
		"simulator --contacts 99999999999":           "not 99999999999",
		"simulator --contacts many":                  `--contacts is a whole number, not "many"`,
		"simulator --properties 0":                   "--properties is 1 to 1000",
		"simulator --fault-rate 5":                   "a share from 0 to 1, not 5",
		"simulator --fault-rate NaN":                 "a share from 0 to 1",
		"simulator --life-rate -1":                   "a share from 0 to 1, not -1",
		"simulator --change-rate -1":                 `a number of changes a second such as 2/s, not "-1"`,
		"simulator --change-rate Inf":                "0 to 100000 a second",
		"simulator --latency -1s":                    "--latency is 0 to 1h",
		"simulator --latency 5":                      `a duration such as 500ms or 2s, not "5"`,
		"simulator --listen 0.0.0.0:0":               "leaves this machine",
		"simulator --listen :8378":                   "leaves this machine",
		"simulator --listen somewhere":               "is no address",
		"simulator --objects cars=1":                 "there is no object",
		"simulator --objects a=b":                    "--objects is a list such as",
		"simulator --associations a":                 "--associations is a list such as",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(args)
			for i := range words {
				if words[i] == "''" {
					words[i] = ""
				}
			}
			got := try(t, nil, append(words, "--config", good)...)
			if words[len(words)-1] == "--every" { // the flag has to be the last
				got = try(t, nil, words...)
			}
			if got.code != ExitUsage || got.out != "" || !strings.Contains(got.errors, says) {
				t.Errorf("exit %d, want 2 and %q:\n%s%s", got.code, says, got.out, got.errors)
			}
			for _, jargon := range []string{"strconv", "pflag", "invalid argument", "arg(s)", "unknown", "time:", "goroutine", "parse", "s3cr3t"} {
				if strings.Contains(got.errors, jargon) {
					t.Errorf("it speaks of %q:\n%s", jargon, got.errors)
				}
			}
			if n := strings.Count(got.errors, "\n"); n > 2 {
				t.Errorf("%d lines:\n%s", n, got.errors)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const rest = "\nportal \"main\" { token = env(\"T\") }\n"
	for name, c := range map[string]struct {
		text string
		code int
		says []string
	}{
		"good":         {fmt.Sprintf("data_dir = %q", filepath.Join(dir, "new", "data")) + rest + "stream \"contacts\" {}", 0, []string{"1 stream of 1 portal; data in"}},
		"no streams":   {fmt.Sprintf("data_dir = %q", dir) + rest, 0, []string{"0 streams of 1 portal", "no streams: nothing will be fetched"}},
		"below a file": {fmt.Sprintf("data_dir = %q", filepath.Join(file, "data")) + rest, 3, []string{"data_dir", file + " is no folder"}},
		"a file":       {fmt.Sprintf("data_dir = %q", file) + rest, 3, []string{"is no folder"}},
		"broker not there": {fmt.Sprintf("data_dir = %q", dir) + rest + "broker { url = \"mqtt://127.0.0.1:1\" }\nstream \"contacts\" {}", 0,
			[]string{"1 stream of 1 portal", "warning: the broker at mqtt://127.0.0.1:1: it cannot be asked: connection refused"}},
		"token in a file": {fmt.Sprintf("data_dir = %q", dir) + "\nportal \"main\" { token = \"pat-na1-1111-2222-3333\" }\n", 0, []string{"token stands in the file itself", "[secret]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := try(t, map[string]string{"T": "x"}, "check", "--config", configFile(t, c.text))
			for _, s := range c.says {
				if !strings.Contains(got.out+got.errors, s) {
					t.Errorf("it does not say %q:\n%s%s", s, got.out, got.errors)
				}
			}
			if got.code != c.code || strings.Contains(got.out+got.errors, "pat-") {
				t.Errorf("exit %d, want %d\n%s%s", got.code, c.code, got.out, got.errors)
			}
		})
	}
	// What a destination of Iceberg wants is built in, or it is said how.
	lake := fmt.Sprintf("data_dir = %q", dir) + rest + `stream "contacts" {}
destination "iceberg" "tables" {
  catalog = "rest"
  uri     = "https://catalog.example/api"
}
`
	if got := try(t, map[string]string{"T": "x"}, "check", "--config", configFile(t, lake)); daemon.WritesIceberg {
		if got.code != 0 || got.errors != "" {
			t.Errorf("with Iceberg built in: exit %d %s", got.code, got.errors)
		}
	} else if got.code != ExitConfig || !strings.Contains(got.errors, "without Apache Iceberg") || !strings.Contains(got.errors, "-tags iceberg") {
		t.Errorf("without Iceberg: exit %d %s", got.code, got.errors)
	}
	got := try(t, map[string]string{"T": "x"}, "check", "--output", "json", "--config", configFile(t, fmt.Sprintf("data_dir = %q", dir)+rest+"stream \"contacts\" {}"))
	var said struct {
		Streams int
		Blocked []string
	}
	if err := json.Unmarshal([]byte(got.out), &said); err != nil || said.Streams != 1 || said.Blocked == nil {
		t.Errorf("%v: %s", err, got.out)
	}
	if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
		t.Error("check made the folder")
	}
}

// A reader that has had enough is no failure, unless the verb was to judge; a
// terminal that has gone interrupts, and a disk that is full is said.
func TestWhoDoesNotReadEndsTheVerb(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		verb   []string
		broken error
		code   int
		says   string
	}{
		{[]string{"version"}, syscall.EPIPE, ExitOK, ""},
		{[]string{"version"}, syscall.EIO, ExitInterrupted, ""},
		{[]string{"version"}, syscall.ENOSPC, ExitFailure, "hubpipe: write the output: write stdout: no space left on device\n"},
		{[]string{"demo", "--once"}, syscall.EPIPE, ExitInterrupted, ""},
		{[]string{"demo", "--once"}, syscall.EIO, ExitInterrupted, ""},
	} {
		var errs bytes.Buffer
		code := Run(t.Context(), Env{Args: c.verb, Stdout: failing{c.broken}, Stderr: &errs, Version: "test", Getenv: func(string) (string, bool) { return "", false }})
		if code != c.code || errs.String() != c.says {
			t.Errorf("%v, %v: exit %d, %q", c.verb, c.broken, code, errs.String())
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "stdout", Err: f.err}
}

// A hangup ends a verb that is no service; one that was started to outlive its
// terminal goes on.
func TestHangup(t *testing.T) {
	t.Parallel()
	for _, detached := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		hangup, first := make(chan struct{}, 1), make(chan struct{})
		code := make(chan int, 1)
		out := &firstWrite{seen: first}
		go func() {
			code <- Run(ctx, Env{Args: []string{"simulator", "--listen", "127.0.0.1:0", "--contacts", "1"}, Stdout: out, Stderr: io.Discard,
				Getenv: func(string) (string, bool) { return "", false }, Hangup: hangup, Detached: detached})
		}()
		<-first
		hangup <- struct{}{}
		if detached {
			if len(hangup) == 0 {
				t.Error("a verb that is detached heard the hangup")
			}
			cancel()
		}
		select {
		case c := <-code:
			if c != ExitOK {
				t.Errorf("detached %v: exit %d", detached, c)
			}
		case <-time.After(2 * time.Minute):
			t.Errorf("detached %v: it goes on", detached)
		}
		cancel()
	}
}

type firstWrite struct {
	seen chan struct{}
	once bool
}

func (f *firstWrite) Write(p []byte) (int, error) {
	if !f.once {
		f.once = true
		close(f.seen)
	}
	return len(p), nil
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{t.Context(), nil, 0}, {t.Context(), errors.New("x"), 1}, {t.Context(), usageError("x"), 2}, {t.Context(), configError(errReported), 3},
		{t.Context(), fmt.Errorf("x: %w", client.ErrUnreachable), 4}, {ended, context.Canceled, 130}, {ended, errors.New("x"), 1},
		{t.Context(), context.Canceled, 1}, {ended, errors.Join(context.Canceled, errors.New("x")), 130},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}
