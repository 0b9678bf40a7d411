package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Canaries stand in every place of the configuration where a secret may, and
// everything that comes out of the programs is searched for them: logs down to
// trace, answers and errors over HTTP and on the command line, all topics, the
// list of processes, a dump of each process, and files, whose modes are looked
// at under a umask that hides nothing.
func TestCanaries(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	s := newSystem(t, "--contacts", "300", "--deals", "20", "--limits=false", "--oauth", "app:canary-client-secret:canary-refresh-token", "--journal", "app:canary-of-the-journal")
	port := freePort(t)
	startMosquitto(t, port)
	canaries := map[string]string{
		"the portal's token": hubspotToken, "a token that HubSpot refuses": "canary-of-a-wrong-token", "the app's secret": "canary-client-secret",
		"the app's refresh token": "canary-refresh-token", "the broker's password": "canary-of-the-broker", "the warehouse's password": "canary-of-the-warehouse",
		"the webhook's secret": "canary-of-the-webhook", "the journal's secret": "canary-of-the-journal", "a user's password": "her password", "a user's hash": "Es1cvhDJrpj7J6bhTRAY5upnVwoN9s0xH89GU7kDu9V6J3Q",
	}
	s.configure(settings{broker: fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"\n  username = \"hubpipe\"\n  password = \"canary-of-the-broker\"", port)})
	s.replace("stream \"deals\" {}", "stream \"deals\" { portal = \"app\" }")
	s.replace("stream \"contacts\" {}", "stream \"contacts\" { portal = \"main\" }")
	s.more(fmt.Sprintf(`
portal "app" {
  base_url = %[1]q
  oauth {
    client_id     = "app"
    client_secret = "canary-client-secret"
    refresh_token = "canary-refresh-token"
  }
  webhook { client_secret = "canary-of-the-webhook" }
  journal {
    client_id     = "app"
    client_secret = "canary-of-the-journal"
  }
}
portal "wrong" {
  base_url = %[1]q
  oauth {
    client_id     = "app"
    client_secret = "canary-client-secret"
    refresh_token = "canary-of-a-wrong-token"
  }
}
stream "companies" { portal = "wrong" }
destination "postgres" "warehouse" { url = "postgres://me:canary-of-the-warehouse@db/x" }
user "ann" {
  role          = "reader"
  password_hash = "$2a$10$Es1cvhDJrpj7J6bhTRAY5upnVwoN9s0xH89GU7kDu9V6J3Q/dKAle"
}
`, s.sim))
	found := &finds{t: t, canaries: canaries}
	bus := found.listens(port)
	start := func(verb string) *process {
		return run(t, s.dir, "/bin/sh", "-c", `umask 0; exec "$0" "$@"`, s.bin, verb, "--log-level", "trace")
	}
	daemon := start("daemon")
	daemon.says(t, "ready: http=")
	s.http = "http://" + daemon.field(t, "http")
	worker := start("worker")
	canaries["the owner's token"] = s.token()
	for _, role := range []string{"worker", "control", "reader"} {
		canaries["a token of "+role] = s.creates(role, "of-"+role)
	}
	s.becomesEqual("contacts", "deals")
	until(t, "the refusal of the wrong token", func() error {
		if st := s.status("companies"); st.State != "blocked" {
			return fmt.Errorf("it is %s", st.State)
		}
		return nil
	})
	bus.await("hubpipe/workers/", "hubpipe/status", "hubpipe/streams/companies")

	// HTTP: every route that reads, the ones that there are not, and strangers.
	owner := canaries["the owner's token"]
	for _, path := range []string{"/healthz", "/readyz", "/v1/streams", "/v1/streams/contacts", "/v1/streams/companies", "/v1/streams/contacts/records",
		"/v1/streams/contacts/schema", "/v1/streams/contacts/changes", "/v1/streams/contacts/export", "/v1/runs", "/v1/workers", "/v1/portals", "/v1/erasures",
		"/v1/logs", "/v1/destinations", "/metrics", "/openapi.json", "/docs", "/v1/streams?token=" + owner, "/v1/streams?token=" + canaries["a token of reader"]} {
		code, body := fetch(t, http.MethodGet, s.http+path, "", owner)
		found.in("GET "+path, body)
		if code == http.StatusOK && body == "" {
			t.Errorf("%s says nothing", path)
		}
		for _, wrong := range []string{canaries["a token of worker"], canaries["a token of reader"] + "x", "her password"} {
			_, body := fetch(t, http.MethodGet, s.http+path, "", wrong)
			found.in("a stranger's GET "+path, body)
		}
	}
	for _, body := range []string{`{"interval":"` + canaries["a token of control"] + `"}`, `{"token":"her password"}`} {
		_, answer := fetch(t, http.MethodPost, s.http+"/v1/streams/contacts/start", body, canaries["a token of reader"])
		found.in("a POST by a reader", answer)
	}
	// The command line, also where it fails.
	for _, args := range []string{"status", "status -o json", "streams", "runs", "runs -o json", "workers", "usage", "check", "token list", "token list -o json", "broker acl",
		"status --config nowhere.hcl", "start nothing", "token revoke nobody"} {
		cmd := exec.CommandContext(t.Context(), s.bin, strings.Fields(args)...)
		cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "TEST_TOKEN="+hubspotToken)
		out, _ := cmd.CombinedOutput() // some are meant to fail
		found.in("hubpipe "+args, string(out))
	}
	// The list of processes, files, and the processes themselves.
	for _, p := range []*process{daemon, worker} {
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		found.in("the list of processes", string(args))
	}
	found.files(filepath.Join(s.dir, "data"))
	for name, p := range map[string]*process{"daemon": daemon, "worker": worker} {
		p.kill(syscall.SIGQUIT)
		log := p.log.String()
		if !strings.Contains(log, "[TRACE]") && !strings.Contains(log, "[DEBUG]") || !strings.Contains(log, "goroutine ") {
			t.Errorf("the %s has no log or no dump to search:\n%s", name, tail(log))
		}
		found.in("log and dump of the "+name, log)
	}
	bus.search()
}

// finds looks for canaries.
type finds struct {
	t        *testing.T
	canaries map[string]string
}

func (f *finds) in(where, text string) {
	f.t.Helper()
	for what, canary := range f.canaries {
		if strings.Contains(text, canary) {
			f.t.Errorf("%s holds %s", where, what)
		}
	}
}

// files looks through a data folder. Two secrets have a file each: the owner's
// token, and what OAuth gave.
func (f *finds) files(dir string) {
	f.t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the store has let it go
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			f.t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		rel, _ := filepath.Rel(dir, path)
		for what, canary := range f.canaries {
			allowed := rel == "token" && what == "the owner's token" || filepath.Dir(rel) == "credentials" && what == "the app's refresh token"
			if strings.Contains(string(b), canary) && !allowed {
				f.t.Errorf("the file %s holds %s", rel, what)
			}
		}
		return nil
	})
	if err != nil || seen < 5 {
		f.t.Errorf("%d files: %v", seen, err)
	}
}

// traffic is everything that a broker carried.
type traffic struct {
	f    *finds
	mu   sync.Mutex
	seen map[string][]string // payloads by topic, pages decoded
}

// listens takes down all topics of a broker that lets anybody in.
func (f *finds) listens(port int) *traffic {
	f.t.Helper()
	r := &traffic{f: f, seen: map[string][]string{}}
	codec := new(protocol.Codec)
	s, err := broker.NewSession(broker.SessionOptions{URL: fmt.Sprintf("mqtt://127.0.0.1:%d", port), ClientID: "listener", CleanStart: true,
		Subscriptions: []broker.Subscription{{Topic: "#"}},
		OnMessage: func(topic string, payload []byte, _ broker.Properties) {
			text := string(payload)
			if page, err := codec.Decode(payload); err == nil {
				if b, err := json.Marshal(page); err == nil {
					text = string(b)
				}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.seen[topic] = append(r.seen[topic], text)
		}})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := s.Start(context.WithoutCancel(f.t.Context())); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = s.Stop(context.Background()) })
	if err := s.AwaitUp(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return r
}

// await waits until something was said below each of the topics.
func (r *traffic) await(prefixes ...string) {
	r.f.t.Helper()
	for _, prefix := range prefixes {
		until(r.f.t, "something on "+prefix, func() error {
			r.mu.Lock()
			defer r.mu.Unlock()
			for topic := range r.seen {
				if strings.HasPrefix(topic, prefix) {
					return nil
				}
			}
			return errors.New("nothing yet")
		})
	}
}

func (r *traffic) search() {
	r.f.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	pages := 0
	for topic, payloads := range r.seen {
		if strings.HasSuffix(topic, "/pages") {
			pages += len(payloads)
		}
		r.f.in("topic "+topic, strings.Join(payloads, "\n"))
	}
	if pages == 0 {
		r.f.t.Error("no page was seen")
	}
}
