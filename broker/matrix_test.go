package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// The access rules as they are seen from outside: every identity does every
// thing with every topic, in both versions of MQTT, to a real broker over its
// socket, by a client that holds itself to nothing. What is expected stands
// here and is not computed. Letters are
//
//	p publish, r publish retained, w last will, s subscribe (and be given what
//	comes), g subscribe by $share, a publish by a topic alias
//
// Whoever does not log in has an empty cell everywhere.
func accessMatrix() []accessRow {
	return []accessRow{
		// topic or filter              owner  ops    reader w1     w2
		{"hubpipe/control", "prw", "prw", "", "", ""},
		{"hubpipe/control/response", "s", "s", "", "", ""},
		{"hubpipe/control/response/mine", "s", "s", "", "", ""},
		{"hubpipe/control/other", "", "", "", "", ""},
		{"hubpipe/status", "s", "s", "s", "s", "s"},
		{"hubpipe/streams/contacts", "s", "s", "s", "", ""},
		{"hubpipe/streams/contacts/deep", "", "", "", "", ""},
		{"hubpipe/changes/contacts", "s", "s", "s", "", ""},
		{"hubpipe/workers/w1", "s", "s", "s", "prws", ""},
		{"hubpipe/workers/w2", "s", "s", "s", "", "prws"},
		{"hubpipe/workers/w1/commands", "", "", "", "s", ""},
		{"hubpipe/workers/w1/answers", "", "", "", "s", ""},
		{"hubpipe/workers/w1/pages", "", "", "", "prws", ""},
		{"hubpipe/workers/w1/heartbeat", "", "", "", "prws", ""},
		{"hubpipe/workers/w2/pages", "", "", "", "", "prws"},
		{"hubpipe/workers/w11/pages", "", "", "", "", ""},
		{"hubpipe/secret", "", "", "", "", ""},
		{"hubpipe", "", "", "", "", ""},
		{"hubpipe/", "", "", "", "", ""},
		{"hubpiper/x", "prws", "prws", "", "", ""},
		{"mine/x", "prws", "prws", "", "", ""},
		{"/hubpipe/control", "prws", "prws", "", "", ""},
		{"HUBPIPE/control", "prws", "prws", "", "", ""},
		{"$SYS/broker/version", "", "", "", "", ""},

		{"#", "", "", "", "", ""},
		{"+/status", "", "", "", "", ""},
		{"hubpipe/#", "", "", "", "", ""},
		{"hubpipe/+", "", "", "", "", ""},
		{"hubpipe/control/#", "", "", "", "", ""},
		{"hubpipe/control/response/#", "s", "s", "", "", ""},
		{"hubpipe/streams/+", "s", "s", "s", "", ""},
		{"hubpipe/streams/#", "", "", "", "", ""},
		{"hubpipe/workers/+", "s", "s", "s", "", ""},
		{"hubpipe/workers/#", "", "", "", "", ""},
		{"hubpipe/workers/+/commands", "", "", "", "", ""},
		{"hubpipe/workers/w1/#", "", "", "", "s", ""},
		{"hubpipe/workers/w2/+", "", "", "", "", "s"},
		{"mine/#", "s", "s", "", "", ""},
		{"$SYS/#", "", "", "", "", ""},
		{"$SHARE/g/hubpipe/control", "", "", "", "", ""},
	}
}

type accessRow struct {
	topic                      string
	owner, ops, reader, w1, w2 string
}

// actor is somebody who logs in, or tries to.
type actor struct {
	user, password, id string
	want               func(accessRow) string
}

func actors() map[string]actor {
	nothing := func(accessRow) string { return "" }
	return map[string]actor{
		"owner":    {"hubpipe", testToken, "somebody", func(r accessRow) string { return r.owner }},
		"ops":      {"ops", testToken, "somebody-else", func(r accessRow) string { return r.ops }},
		"reader":   {"reader", testToken, "a-reader", func(r accessRow) string { return r.reader }},
		"w1":       {"w1", testToken, "hubpipe-worker-w1", func(r accessRow) string { return r.w1 }},
		"w2":       {"w2", testToken, "hubpipe-worker-w2", func(r accessRow) string { return r.w2 }},
		"nobody":   {"", "", "a-stranger", nothing},
		"wrong":    {"hubpipe", testToken + "x", "a-liar", nothing},
		"w1 as w2": {"w1", testToken, "hubpipe-worker-w2", nothing},
		"daemon":   {"hubpipe-daemon", testToken, "hubpipe-daemon", nothing},
	}
}

// stage is a broker with an observer who sees everything there is.
type stage struct {
	t       *testing.T
	b       *Embedded
	daemon  *Session
	m       *mail
	version byte
	n       int
}

func TestAccessMatrix(t *testing.T) {
	t.Parallel()
	for _, version := range []byte{4, 5} {
		for name, a := range actors() {
			t.Run(fmt.Sprintf("v%d/%s", version, name), func(t *testing.T) {
				t.Parallel()
				s := &stage{t: t, b: startBroker(t, nil), m: newMail(), version: version}
				s.daemon = startSession(t, SessionOptions{URL: s.b.testSocket(), ClientID: "hubpipe-daemon", OnMessage: s.m.receive,
					Subscriptions: []Subscription{{Topic: "#", QoS: 1, RetainAsPublished: true}}})
				for _, row := range accessMatrix() {
					got := ""
					for _, letter := range "prwsga" {
						if s.does(a, letter, row.topic) {
							got += string(letter)
						}
					}
					if want := a.want(row); got != want {
						t.Errorf("%q: may %q, want %q", row.topic, got, want)
					}
				}
			})
		}
	}
}

// login connects; nil where it is refused.
func (s *stage) login(a actor, will string) *raw {
	r := dialRaw(s.t, "tcp", s.b.Addr())
	r.send(connect(s.version, a.id, a.user, a.password, will))
	if first, body, err := r.next(); err != nil || first != 0x20 || len(body) < 2 || body[1] != 0 {
		_ = r.conn.Close()
		return nil
	}
	return r
}

// does tries something, and tells whether it had its effect. An effect without
// leave, and leave without an effect, are both seen.
func (s *stage) does(a actor, letter rune, topic string) bool {
	s.n++
	text := fmt.Sprintf("%c %d", letter, s.n)
	will := ""
	if letter == 'w' {
		will = topic
	}
	r := s.login(a, will)
	if r == nil {
		return s.arrived("gone") // a will that nobody was let in with
	}
	defer r.conn.Close()
	id := []byte{1, 7}
	switch letter {
	case 'p', 'a':
		if letter == 'a' {
			if s.version < 5 {
				return false // there are none
			}
			// First with its topic, then by the alias alone.
			r.send(frame(0x32, str(topic), id, props(5, 35, 0, 1), []byte(text)), frame(0x32, str(""), id, props(5, 35, 0, 1), []byte(text)))
		} else {
			r.send(frame(0x32, str(topic), id, props(s.version), []byte(text)))
		}
		r.settle()
		return s.arrived(text)
	case 'r':
		r.send(frame(0x33, str(topic), id, props(s.version), []byte(text)))
		r.settle()
		arrived := s.arrived(text)
		if kept := s.kept(topic, text); kept != arrived {
			s.t.Errorf("%q: arrived %t, retained %t", topic, arrived, kept)
		}
		s.forget(topic)
		return arrived
	case 'w':
		_ = r.conn.Close() // without a DISCONNECT
		eventually(s.t, "the connection ends", func() bool { _, open := s.b.listeners[1].gate.counts(); return open == 0 })
		return s.arrived("gone")
	case 's', 'g':
		filter := topic
		if letter == 'g' {
			filter = "$share/g/" + topic
		}
		if !strings.ContainsAny(topic, "#+$") {
			// What the connection before this one had is not taken for its own.
			eventually(s.t, "the subscription before is gone", func() bool {
				return len(s.b.server.Topics.Subscribers(topic).Subscriptions) <= 1
			})
		}
		r.send(frame(0x82, id, props(s.version), str(filter), []byte{1}))
		first, body, err := r.next()
		for err == nil && first>>4 == 3 { // what the session was sent before comes again
			first, body, err = r.next()
		}
		granted := err == nil && first == 0x90 && body[len(body)-1] < 0x80
		if noted := len(s.b.server.Topics.Subscribers(topic).Subscriptions) > 1; err == nil && noted != granted && !strings.ContainsAny(topic, "#+$") {
			s.t.Errorf("%q by %s: granted %t, noted %t", filter, a.user, granted, noted)
		}
		if strings.ContainsAny(topic, "#+$") || topic == "hubpipe" {
			return granted // nothing can be sent there, by the daemon neither
		}
		if err := s.daemon.Publish(testContext(s.t), Message{Topic: topic, Payload: []byte(text), QoS: 1}); err != nil {
			s.t.Fatal(err)
		}
		if given := r.given(text, granted); given != granted {
			s.t.Errorf("%q by %s: granted %t, given %t", filter, a.user, granted, given)
		}
		return granted
	}
	return false
}

// settle waits until the broker has dealt with what was sent, or closed.
func (r *raw) settle() {
	r.send(frame(0xc0))
	for {
		if first, _, err := r.next(); err != nil || first == 0xd0 {
			return
		}
	}
}

// given tells whether a message comes; where none is meant to, it is not waited
// for longer than for the answer to a ping.
func (r *raw) given(text string, wait bool) bool {
	r.send(frame(0xc0))
	for {
		first, body, err := r.next()
		switch {
		case err != nil, first == 0xd0 && !wait:
			return false
		case first>>4 == 3 && strings.HasSuffix(string(body), text):
			return true
		}
	}
}

// arrived tells whether the observer has seen a message, once everything that
// the broker has taken is with it.
func (s *stage) arrived(text string) bool {
	s.n++
	end := fmt.Sprint("end ", s.n)
	if err := s.daemon.Publish(testContext(s.t), Message{Topic: "hubpipe/end", Payload: []byte(end), QoS: 1}); err != nil {
		s.t.Fatal(err)
	}
	s.m.await(s.t, withPayload(end))
	seen := false
	for _, m := range s.m.all() {
		seen = seen || string(m.Payload) == text
	}
	s.m.mu.Lock()
	s.m.got = nil
	s.m.mu.Unlock()
	return seen
}

// kept tells whether the broker holds a retained message of that text.
func (s *stage) kept(topic, text string) bool {
	for _, m := range s.b.server.Topics.Messages(topic) {
		if string(m.Payload) == text {
			return true
		}
	}
	return false
}

func (s *stage) forget(topic string) {
	s.b.server.Topics.RetainMessage(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true}, TopicName: topic})
}

// Who gets at which session by its client id, while another holds it, while the
// broker keeps it, and while there is none. Letters are of the identities that
// may: o(wner), p (ops), r(eader), 1 (worker w1), 2.
func TestTakeOverMatrix(t *testing.T) {
	t.Parallel()
	letters := map[string]string{"owner": "o", "ops": "p", "reader": "r", "w1": "1", "w2": "2", "nobody": "n", "wrong": "x"}
	for _, c := range []struct{ id, holder, may string }{
		{"mine", "owner", "o"},
		{"mine", "ops", "p"},
		{"mine", "reader", "r"},
		{"mine", "", "opr"},
		{"hubpipe-worker-w1", "w1", "1"},
		{"hubpipe-worker-w1", "", "1"},
		{"hubpipe-worker-w2", "w2", "2"},
		{"hubpipe-worker-w3", "", ""},
		{"hubpipe-daemon", "daemon", ""},
		{"hubpipe-daemon", "", ""},
		{"hubpipe-daemon-control", "daemon", ""},
		{"hubpipe-look-1", "", ""},
		{"hubpipe", "", ""},
		{"hubpipez", "", ""},
		{"", "", "opr"},
	} {
		for _, kept := range []bool{false, true} {
			if kept && c.holder == "" {
				continue
			}
			t.Run(fmt.Sprintf("%s of %s kept %t", c.id, c.holder, kept), func(t *testing.T) {
				t.Parallel()
				got := ""
				for _, name := range []string{"owner", "ops", "reader", "w1", "w2", "nobody", "wrong"} {
					if takesOver(t, c.id, c.holder, kept, actors()[name]) {
						got += letters[name]
					}
				}
				if got != c.may {
					t.Errorf("%q may, want %q", got, c.may)
				}
			})
		}
	}
}

// takesOver has somebody come with a client id whose session a holder has, and
// tells whether he is let in. If not, the holder has noticed nothing, and has
// what was sent to him.
func takesOver(t *testing.T, id, holder string, kept bool, who actor) bool {
	t.Helper()
	b := startBroker(t, nil)
	first := func() *raw {
		if holder == "daemon" {
			return dialRaw(t, "unix", b.o.Socket).send(keepSession(id, "hubpipe"))
		}
		return dialRaw(t, "tcp", b.Addr()).send(keepSession(id, actors()[holder].user))
	}
	var held *raw
	if holder != "" {
		held = first()
		held.want("the holder", 0x20, 1, 0)
		if kept {
			_ = held.conn.Close()
			eventually(t, "the holder has gone", func() bool {
				_, a := b.listeners[0].gate.counts()
				_, c := b.listeners[1].gate.counts()
				return a+c == 0
			})
		}
	}
	r := dialRaw(t, "tcp", b.Addr()).send(connect(5, id, who.user, who.password, ""))
	code, body, err := r.next()
	in := err == nil && code == 0x20 && len(body) > 1 && body[1] == 0
	switch {
	case in || holder == "":
	case kept:
		if body := first().want("the holder again", 0x20, 1, 0); len(body) > 0 && body[0] != 1 {
			t.Error("the holder's session is gone")
		}
	default:
		held.send(frame(0xc0)).want("the holder's ping", 0xd0, -1, 0)
	}
	return in
}
