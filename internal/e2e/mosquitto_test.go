package e2e

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// need finds a program. Where it is missing the test is skipped, and fails
// where all of them are required.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil && filepath.Base(program) == program {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", program))
	}
	switch {
	case err == nil:
	case os.Getenv("HUBPIPE_TEST_REQUIRE") == "all":
		t.Fatalf("%s is required and missing: %v", program, err)
	default:
		t.Skipf("%s is missing: %v", program, err)
	}
	return path
}

// versions of MQTT that mosquitto's clients speak.
var versions = [...]string{"mqttv311", "mqttv5"}

// person is somebody at the broker with mosquitto's clients.
type person struct {
	s    *system
	host string
	port string
	user []string
}

// at is a person at a broker; without a user one without a name.
func (s *system) at(addr string, user ...string) *person {
	s.t.Helper()
	if u, err := url.Parse(addr); err == nil && u.Host != "" {
		addr = u.Host
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &person{s: s, host: host, port: port}
	if len(user) > 0 {
		p.user = []string{"-u", user[0], "-P", s.token()}
	}
	return p
}

// does runs one of the clients to its end.
func (p *person) does(program string, args ...string) (string, error) {
	p.s.t.Helper()
	all := append([]string{"-h", p.host, "-p", p.port}, p.user...)
	out, err := exec.CommandContext(p.s.t.Context(), need(p.s.t, program), append(all, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// publishes a message and holds that the broker took it.
func (p *person) publishes(args ...string) {
	p.s.t.Helper()
	if out, err := p.does("mosquitto_pub", append([]string{"-q", "1"}, args...)...); err != nil {
		p.s.t.Fatalf("mosquitto_pub %q: %v %s", args, err, out)
	}
}

// reads what is retained on a topic.
func (p *person) reads(topic string) (string, error) {
	p.s.t.Helper()
	return p.does("mosquitto_sub", "-C", "1", "-W", "5", "-t", topic)
}

// answer is what becomes of a command.
type answer struct {
	OK     bool
	ID     string
	Action string
	Stream string
	Run    string
	Status struct {
		State, Interval string
		SetBy           string `json:"set_by"`
	}
	Error struct {
		Type, Title, Detail, Hint string
		Status                    int
	}
}

// commands sends a command and waits for its answer on the topic of answers.
func (p *person) commands(version, text string) answer {
	p.s.t.Helper()
	out, err := p.does("mosquitto_rr", "-V", version, "-q", "1", "-W", "10", "-t", "hubpipe/control",
		"-e", "hubpipe/control/response", "-m", text)
	if err != nil {
		p.s.t.Fatalf("%s %q: %v %s", version, text, err, out)
	}
	return decode[answer](p.s.t, out)
}

// startMosquitto starts a broker that keeps nothing on disk, and waits until it
// listens.
func startMosquitto(t testing.TB, port int, conf ...string) *process {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\n%s\n", port, strings.Join(conf, "\n"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := run(t, dir, need(t, "mosquitto"), "-c", path)
	until(t, "mosquitto", func() error {
		var d net.Dialer
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return p
}

// onMosquitto starts a broker of others and has the system use it.
func (s *system) onMosquitto() (_ *process, port int) {
	s.t.Helper()
	port = freePort(s.t)
	m := startMosquitto(s.t, port)
	s.configure(settings{broker: fmt.Sprintf("url = \"mqtt://127.0.0.1:%d\"", port)})
	return m, port
}

// The whole pipeline goes through a broker of others, which is killed and comes
// back with nothing in the middle.
func TestExternalBrokerKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	need(t, "mosquitto")
	s := newSystem(t, "--contacts", "6000", "--deals", "300", "--limits=false", "--latency", "50ms")
	m, port := s.onMosquitto()
	daemon, worker := s.daemon(), s.worker("--name", "w1")
	for n := range 2 {
		until(t, "progress", func() error {
			if st := s.status("contacts"); st.Records < uint64(500*(n+1)) {
				return fmt.Errorf("%d records", st.Records)
			}
			return nil
		})
		s.change("contacts", `{"change":100,"create":20}`)
		m.kill(syscall.SIGKILL)
		m = startMosquitto(t, port)
	}
	s.becomesEqual("contacts", "deals")
	s.change("contacts", `{"change":50,"create":5}`)
	s.becomesEqual("contacts")
	someone := s.at(s.mqtt)
	until(t, "what is retained", func() error {
		for topic, want := range map[string]string{
			"hubpipe/status": `"state":"online"`, "hubpipe/streams/contacts": `"name":"contacts"`, "hubpipe/workers/w1": `"state":"online"`,
		} {
			if got, err := someone.reads(topic); err != nil || !strings.Contains(got, want) {
				return fmt.Errorf("%s: %s %w", topic, got, err)
			}
		}
		return nil
	})
	for _, p := range []*process{worker, daemon} {
		p.kill(syscall.SIGTERM)
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d:\n%s", code, p.log)
		}
	}
	if got, err := someone.reads("hubpipe/status"); err != nil || !strings.Contains(got, `"state":"offline"`) {
		t.Errorf("the status of a daemon that has stopped: %s %v", got, err)
	}
}
