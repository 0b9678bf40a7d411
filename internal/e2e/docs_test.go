package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shell runs lines of the documents as they are printed: with curl and
// mosquitto's clients led from the documents' ports to the system's.
type shell struct {
	t   *testing.T
	dir string
	env []string
}

func (s *system) shell(t *testing.T) *shell {
	t.Helper()
	sh := &shell{t: t, dir: s.dir}
	home := t.TempDir()
	_, http, err := net.SplitHostPort(strings.TrimPrefix(s.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, mqtt, err := net.SplitHostPort(s.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		path := filepath.Join(home, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(".curlrc", fmt.Sprintf("connect-to = \"127.0.0.1:8377:127.0.0.1:%s\"\nfail-with-body\n", http))
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub", "mosquitto_rr"} {
		write(".config/"+name, "-p "+mqtt+"\n")
	}
	sh.env = append(os.Environ(), "HOME="+home, "CURL_HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"),
		"PATH="+filepath.Dir(s.bin)+":"+os.Getenv("PATH"), "TEST_TOKEN="+hubspotToken)
	return sh
}

// run executes a line, after what stands before it, for as long as patience; 0
// waits for its end.
func (sh *shell) run(before, line string, patience time.Duration) (string, error) {
	ctx, cancel := context.WithCancel(sh.t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", before+"\n"+line)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = sh.dir, sh.env, &out, &errs
	if patience > 0 {
		stop := time.AfterFunc(patience, cancel)
		defer stop.Stop()
		cmd.WaitDelay = time.Second
	}
	err := cmd.Run()
	if err != nil && patience > 0 && ctx.Err() != nil && sh.t.Context().Err() == nil {
		err = nil // it would have gone on for ever
	}
	if err != nil {
		return out.String(), fmt.Errorf("%w\n%s%s", err, out.String(), errs.String())
	}
	return out.String(), nil
}

// blocks are the lines of a document's shell blocks, by the heading above.
func blocks(t *testing.T, path, fence string) (headings []string, lines map[string][]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	lines = map[string][]string{}
	heading, within, other := "", false, false
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case !within && (other || line != fence) && strings.HasPrefix(line, "```"):
			other = !other // a block of another language
		case other:
		case !within && strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
			headings = append(headings, heading)
		case !within && line == fence:
			within = true
		case within && line == "```":
			within = false
		case within && strings.TrimSpace(line) != "":
			lines[heading] = append(lines[heading], line)
		}
	}
	return headings, lines
}

// forever tells whether a line goes on until somebody ends it.
func forever(line string) bool {
	return strings.Contains(line, " -N ") || strings.Contains(line, "--follow") || strings.Contains(line, "mosquitto_sub")
}

// documented is a system as the documents speak of: contacts and deals.
func documented(t *testing.T) *system {
	t.Helper()
	s := newSystem(t, "--contacts", "60", "--deals", "5")
	s.daemon()
	s.worker()
	if code, body := s.curl(http.MethodPost, "/v1/streams/all/sync?wait=120s", ""); code != http.StatusOK {
		t.Fatalf("the first run: %d %s", code, body)
	}
	return s
}

// Every line of docs/HTTP.md works as it is printed, in its order.
func TestLinesOfHTTP(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"curl", "bash"} {
		need(t, program)
	}
	s := documented(t)
	sh := s.shell(t)
	headings, lines := blocks(t, "docs/HTTP.md", "```sh")
	before, ran := "", 0
	for _, h := range headings {
		for _, line := range lines[h] {
			if strings.HasPrefix(line, "api=") {
				before = line
				continue
			}
			patience := time.Duration(0)
			if forever(line) {
				patience = 3 * time.Second
			}
			out, err := sh.run(before, line, patience)
			if wrong := h == "Errors"; (err != nil) != wrong || out == "" && !strings.Contains(line, " -o ") {
				t.Errorf("%s\n%s\n%v", line, out, err)
			}
			ran++
		}
	}
	if before == "" || ran < 20 {
		t.Errorf("only %d lines were found", ran)
	}
	for _, name := range []string{"contacts.ndjson", "contacts.csv", "contacts.parquet"} {
		if info, err := os.Stat(filepath.Join(s.dir, name)); err != nil || info.Size() < 500 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

// Every line of the README, docs/MQTT.md and docs/CLI.md that asks a daemon works as it is
// printed.
func TestLinesOfTheReadme(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"curl", "bash", "mosquitto_sub", "mosquitto_rr"} {
		need(t, program)
	}
	s := documented(t)
	sh := s.shell(t)
	ran := 0
	for _, path := range []string{"README.md", "docs/MQTT.md", "docs/CLI.md"} {
		headings, lines := blocks(t, path, "```")
		for _, h := range headings {
			before := ""
			for _, line := range lines[h] {
				switch {
				case strings.HasPrefix(line, "api="):
					before = line
					continue
				case why(line) != "":
					continue
				}
				patience := time.Duration(0)
				if forever(line) {
					patience, line = 3*time.Second, strings.TrimSuffix(strings.TrimSpace(line), "&")
				}
				if out, err := sh.run(before, line, patience); err != nil {
					t.Errorf("%s: %s\n%s\n%v", path, line, out, err)
				}
				ran++
			}
		}
	}
	if ran < 15 {
		t.Errorf("only %d lines were found", ran)
	}
}
