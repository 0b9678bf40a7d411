package broker

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A real mosquitto that has the rules of `hubpipe broker acl` keeps to the
// matrix, as far as it lies below the prefix: who may publish, retain, leave a
// will, and be given what comes.
func TestACLOnMosquitto(t *testing.T) {
	t.Parallel()
	passwd := need(t, "mosquitto_passwd")
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil { // mosquitto may change its user
		t.Fatal(err)
	}
	users := []Identity{{RoleDaemon, "hubpipe-daemon"}, {RoleControl, "ops"}, {RoleReader, "reader"}, {RoleWorker, "w1"}, {RoleWorker, "w2"}}
	passwords, rules := filepath.Join(dir, "passwords"), filepath.Join(dir, "acl")
	if err := os.WriteFile(rules, []byte(ACL("hubpipe", users)), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, u := range users {
		args := []string{"-b", passwords, u.Name, testToken}
		if i == 0 {
			args = append([]string{"-c"}, args...)
		}
		if out, err := exec.CommandContext(testContext(t), passwd, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	if err := os.Chmod(passwords, 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	startMosquitto(t, port, fmt.Sprintf("allow_anonymous false\npassword_file %s\nacl_file %s", passwords, rules))
	at := fmt.Sprintf("127.0.0.1:%d", port)
	m := newMail()
	daemon := startSession(t, SessionOptions{URL: "mqtt://" + at, ClientID: "hubpipe-daemon", Username: "hubpipe-daemon", Password: testToken,
		OnMessage: m.receive, Subscriptions: []Subscription{{Topic: "hubpipe/#", QoS: 1, RetainAsPublished: true}}})
	s := &stage{t: t, daemon: daemon, m: m, version: 5}
	for _, name := range []string{"ops", "reader", "w1", "w2", "wrong", "nobody"} {
		a := actors()[name]
		for _, row := range accessMatrix() {
			if !strings.HasPrefix(row.topic, "hubpipe/") || strings.ContainsAny(row.topic, "#+") || row.topic == "hubpipe/" {
				continue
			}
			want := a.want(row)
			got := ""
			for _, letter := range "prws" {
				if s.doesAt(at, a, letter, row.topic) {
					got += string(letter)
				}
			}
			if got != want {
				t.Errorf("%s with %q: may %q, want %q", name, row.topic, got, want)
			}
		}
	}
}

// doesAt is does on a broker whose inside cannot be seen.
func (s *stage) doesAt(address string, a actor, letter rune, topic string) bool {
	s.n++
	text, will := fmt.Sprintf("%c %d", letter, s.n), ""
	if letter == 'w' {
		will = topic
	}
	r := dialRaw(s.t, "tcp", address).send(connect(s.version, a.id, a.user, a.password, will))
	defer r.conn.Close()
	if first, body, err := r.next(); err != nil || first != 0x20 || body[1] != 0 {
		return s.arrived("gone")
	}
	id := []byte{1, 7}
	switch letter {
	case 'p', 'r':
		first := byte(0x32)
		if letter == 'r' {
			first = 0x33
		}
		r.send(frame(first, str(topic), id, props(s.version), []byte(text))).settle()
		arrived := s.arrived(text)
		if letter == 'r' {
			if err := s.daemon.Publish(testContext(s.t), Message{Topic: topic, QoS: 1, Retain: true}); err != nil {
				s.t.Fatal(err)
			}
		}
		return arrived
	case 'w':
		// Ended by what no broker takes. mosquitto has one thread: what comes after
		// the end comes after the will.
		r.send(frame(0xf0, []byte{0xff})).wantClosed("a protocol error")
		return s.arrived("gone")
	default:
		r.send(frame(0x82, id, props(s.version), str(topic), []byte{1}))
		_, _, _ = r.next() // granted by mosquitto in any case; what counts is what is given
		if err := s.daemon.Publish(testContext(s.t), Message{Topic: topic, Payload: []byte(text), QoS: 1}); err != nil {
			s.t.Fatal(err)
		}
		return r.given(text, false)
	}
}

// The rules for EMQX say the same: held against the matrix by what its
// documentation says of them. The first that fits decides, and filters are
// matched as topics are.
func TestACLForEMQX(t *testing.T) {
	t.Parallel()
	rules := EMQX("hubpipe", []Identity{{RoleDaemon, "hubpipe-daemon"}, {RoleControl, "ops"}, {RoleReader, "reader"}, {RoleWorker, "w1"}, {RoleWorker, "w2"}})
	line := regexp.MustCompile(`^\{(allow|deny), (?:all|\{user, "([^"]+)"\}, (publish|subscribe|all), \["([^"]+)"\])\}\.$`)
	may := func(user, action, topic string) bool {
		for text := range strings.Lines(rules) {
			text = strings.TrimSpace(text)
			if text == "" || strings.HasPrefix(text, "%%") {
				continue
			}
			m := line.FindStringSubmatch(text)
			switch {
			case m == nil:
				t.Fatalf("%q is no rule", text)
			case m[2] == "", m[2] == user && (m[3] == action || m[3] == "all") && fits(m[4], topic):
				return m[1] == "allow"
			}
		}
		t.Fatal("no rule decides")
		return false
	}
	held := 0
	for _, name := range []string{"ops", "reader", "w1", "w2"} {
		a := actors()[name]
		for _, row := range accessMatrix() {
			if !strings.HasPrefix(row.topic, "hubpipe/") || strings.ContainsAny(row.topic, "#+") || row.topic == "hubpipe/" {
				continue
			}
			want := a.want(row)
			if got := may(a.user, "publish", row.topic); got != strings.Contains(want, "p") {
				t.Errorf("%s publishes to %q: %v, want %q", name, row.topic, got, want)
			}
			if got := may(a.user, "subscribe", row.topic); got != strings.Contains(want, "s") {
				t.Errorf("%s subscribes to %q: %v, want %q", name, row.topic, got, want)
			}
			held++
		}
	}
	if held < 20 || !may("hubpipe-daemon", "publish", "hubpipe/workers/w1/commands") || may("nobody", "subscribe", "hubpipe/status") {
		t.Errorf("%d held", held)
	}
}

// fits tells whether a topic is one of a filter's.
func fits(filter, topic string) bool {
	f, p := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(p) || level != "+" && level != p[i]:
			return false
		}
	}
	return len(f) == len(p)
}
