package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The commands of docs/SECURITY.md do what they say, as they stand there: with
// certificates of one's own, workers by token and by certificate, and everything
// that a person asks with, over TLS. Only the host and its ports are others.
func TestSecurityPage(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"openssl", "curl", "mosquitto_sub"} {
		need(t, program)
	}
	page, err := os.ReadFile("../../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, "--contacts", "50", "--deals", "5", "--limits=false")
	away := s.another()
	if err := os.Symlink(s.bin, filepath.Join(s.dir, "hubpipe")); err != nil {
		t.Fatal(err)
	}
	web, bus := fmt.Sprint(freePort(t)), fmt.Sprint(freePort(t))
	text := strings.NewReplacer("hubpipe.example:8377", "localhost:"+web, "hubpipe.example:8883", "localhost:"+bus, "-p 8883", "-p "+bus,
		"hubpipe.example", "localhost", "0.0.0.0:8377", "localhost:"+web, "0.0.0.0:8883", "localhost:"+bus).Replace(string(page))
	blocks := regexp.MustCompile("(?ms)^```(sh|hcl)\n(.*?)^```$").FindAllStringSubmatch(text, -1)
	configured, workers := 0, []*process{}
	var daemon *process
	for _, b := range blocks {
		switch kind, body := b[1], b[2]; {
		case kind == "hcl":
			where := s
			if configured++; configured > 1 {
				where = away
			}
			where.takes(body)
		case strings.HasPrefix(body, "hubpipe check\n"):
			s.script("hubpipe check\n")
			daemon = run(t, s.dir, s.bin, "daemon")
			daemon.says(t, "ready: http=")
		case strings.HasPrefix(body, "hubpipe worker"):
			away.carries(s, "ca.crt", "w1.token", "w2.crt", "w2.key")
			workers = append(workers, run(t, away.dir, s.bin, strings.Fields(body)[1:]...))
			name := strings.Fields(body)[3]
			until(t, "worker "+name, func() error {
				if out, err := s.hubpipe("workers"); err != nil || !strings.Contains(out, name+" ") || !strings.Contains(out, "online") {
					return fmt.Errorf("%w\n%s", err, out)
				}
				return nil
			})
		default:
			out := s.script(body)
			if strings.Contains(body, "curl") && (!strings.Contains(out, `"name":"contacts"`) || !strings.Contains(out, `"id":"w2"`)) {
				t.Errorf("what the commands print:\n%s", out)
			}
		}
	}
	if configured != 3 || len(workers) != 2 || daemon == nil {
		t.Fatalf("%d configurations and %d workers stand on the page", configured, len(workers))
	}
	wrong := run(t, away.dir, s.bin, "worker", "--name", "w3") // with the certificate of w2
	wrong.says(t, "it does not take the client's name", "this worker is w3, and its token or certificate was made for another")
	if code := wrong.exit(t); code != 1 {
		t.Errorf("a worker with another's certificate ends with %d", code)
	}
	s.http = "" // the API is asked by its socket from here on
	until(t, "contacts", func() error { return s.equal("contacts") })

	// A renewed certificate is taken over by SIGHUP; what is there goes on.
	before := s.shown(bus)
	s.script(`openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 100 -copy_extensions copy -out tls.crt`)
	if err := daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the renewed certificate", func() error {
		if s.shown(bus) == before || s.shown(web) == before {
			return errors.New("the old one is shown")
		}
		return nil
	})
	// One that is no good changes nothing.
	s.file("tls.crt", "nonsense")
	now := s.shown(bus)
	if err := daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	daemon.says(t, "the configuration was not taken over")
	if s.shown(bus) != now || !workers[0].running() || strings.Count(daemon.log.String(), "lost") > 0 {
		t.Error("a certificate that is no good was taken over, or cost a connection")
	}
	for _, p := range append(workers, daemon) {
		for _, secret := range []string{"hubpipe_", "PRIVATE KEY"} {
			if strings.Contains(p.log.String(), secret) {
				t.Errorf("a log holds %q", secret)
			}
		}
	}
}

// takes puts blocks into the configuration, in the place of those that are
// there.
func (s *system) takes(blocks string) {
	s.t.Helper()
	s.edit(func(was string) string {
		for _, name := range []string{"http", "broker"} {
			was = regexp.MustCompile(`(?ms)^`+name+` \{(?: [^\n]* \}$|.*?^\}$)\n`).ReplaceAllString(was, "")
		}
		return was + blocks
	})
}

// carries copies files from another folder, those that are there.
func (s *system) carries(from *system, names ...string) {
	s.t.Helper()
	for _, name := range names {
		if b, err := os.ReadFile(filepath.Join(from.dir, name)); err == nil {
			s.file(name, string(b))
		}
	}
}

// script runs lines as they stand on a page.
func (s *system) script(lines string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "sh", "-e", "-u", "-c", lines)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PATH="+s.dir+":"+os.Getenv("PATH"), "TEST_TOKEN="+hubspotToken)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s\n%v\n%s", lines, err, out)
	}
	return string(out)
}

// shown is the certificate that a port of this machine shows.
func (s *system) shown(port string) string {
	s.t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), "sh", "-c",
		"openssl s_client -connect "+net.JoinHostPort("localhost", port)+" -CAfile ca.crt -verify_return_error </dev/null 2>/dev/null | openssl x509 -noout -serial -enddate")
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%v %s", err, out)
	}
	return string(out)
}
