package broker

import (
	"strings"
	"testing"
)

// The matrix of docs/ARCHITECTURE.md: who may do what with each topic. Letters
// are p(ublish), s(ubscribe) and d(eliver); what is not named is denied.
func TestAllowed(t *testing.T) {
	t.Parallel()
	daemon := Identity{Role: RoleDaemon}
	w1 := Identity{Role: RoleWorker, Name: "w1"}
	control := Identity{Role: RoleControl}
	reader := Identity{Role: RoleReader}
	for _, c := range []struct {
		topic                       string
		daemon, w1, control, reader string
	}{
		{"hp/control", "psd", "", "p", ""},
		{"hp/control/response", "psd", "", "sd", ""},
		{"hp/control/response/me", "psd", "", "sd", ""},
		{"hp/control/other", "psd", "", "", ""},
		{"hp/status", "psd", "sd", "sd", "sd"},
		{"hp/status/x", "psd", "", "", ""},
		{"hp/streams/contacts", "psd", "", "sd", "sd"},
		{"hp/streams/contacts/x", "psd", "", "", ""},
		{"hp/streams", "psd", "", "", ""},
		{"hp/changes/contacts", "psd", "", "sd", "sd"},
		{"hp/workers/w1", "psd", "psd", "sd", "sd"},
		{"hp/workers/w1/commands", "psd", "sd", "", ""},
		{"hp/workers/w1/answers", "psd", "sd", "", ""},
		{"hp/workers/w1/pages", "psd", "psd", "", ""},
		{"hp/workers/w1/heartbeat", "psd", "psd", "", ""},
		{"hp/workers/w1/pages/x", "psd", "sd", "", ""},
		{"hp/workers/w2", "psd", "", "sd", "sd"},
		{"hp/workers/w2/commands", "psd", "", "", ""},
		{"hp/workers/w2/pages", "psd", "", "", ""},
		{"hp/workers/w11", "psd", "", "sd", "sd"},
		{"hp/secret", "psd", "", "", ""},
		{"hp", "sd", "", "", ""},
		{"hp/", "psd", "", "", ""},
		{"other", "psd", "", "psd", ""},
		{"other/hp/control", "psd", "", "psd", ""},
		{"hpx/control", "psd", "", "psd", ""},
		{"HP/control", "psd", "", "psd", ""},
		{"/hp/control", "psd", "", "psd", ""},

		// Filters.
		{"#", "s", "", "", ""},
		{"+", "s", "", "", ""},
		{"+/control", "s", "", "", ""},
		{"+/#", "s", "", "", ""},
		{"hp/#", "s", "", "", ""},
		{"hp/+", "s", "", "", ""},
		{"hp/+/contacts", "s", "", "", ""},
		{"hp/control/#", "s", "", "", ""},
		{"hp/control/+", "s", "", "", ""},
		{"hp/control/response/#", "s", "", "s", ""},
		{"hp/control/response/+", "s", "", "s", ""},
		{"hp/streams/+", "s", "", "s", "s"},
		{"hp/streams/#", "s", "", "", ""},
		{"hp/changes/+", "s", "", "s", "s"},
		{"hp/workers/+", "s", "", "s", "s"},
		{"hp/workers/#", "s", "", "", ""},
		{"hp/workers/+/commands", "s", "", "", ""},
		{"hp/workers/w1/#", "s", "s", "", ""},
		{"hp/workers/w1/+", "s", "s", "", ""},
		{"hp/workers/w2/#", "s", "", "", ""},
		{"other/#", "s", "", "s", ""},
		{"other/+/x", "s", "", "s", ""},

		// Nobody's.
		{"$SYS/broker/version", "", "", "", ""},
		{"$SYS/#", "", "", "", ""},
		{"$share/g/hp/control", "", "", "", ""},
		{"$SHARE/g/other", "", "", "", ""},
		{"$ShArE/g/#", "", "", "", ""},
		{"", "", "", "", ""},
		{"other/a+", "", "", "", ""},
		{"other/#/x", "", "", "", ""},
		{"other\x00", "", "", "", ""},
		{"other\xff", "", "", "", ""},
	} {
		for _, who := range []struct {
			id   Identity
			want string
		}{
			{daemon, c.daemon},
			{w1, c.w1},
			{control, c.control},
			{reader, c.reader},
			{Identity{}, ""},
			{Identity{Role: RoleWorker}, ""},
			{Identity{Role: RoleWorker, Name: "+"}, ""},
		} {
			want := who.want
			if who.id.Role == RoleWorker && who.id.Name != "w1" && c.topic == "hp/status" {
				want = "sd"
			}
			for letter, action := range map[string]Action{"p": Publish, "s": Subscribe, "d": Deliver} {
				if got := Allowed(who.id, "hp", c.topic, action); got != strings.Contains(want, letter) {
					t.Errorf("%s %q: %s of %q is %t", who.id.Role, who.id.Name, letter, c.topic, got)
				}
			}
		}
	}
	if Allowed(daemon, "hp", "a", 0) || Allowed(daemon, "", "a", Publish) {
		t.Error("an action or a prefix that is none is allowed")
	}
	if !Allowed(control, "a/b", "a/b/control", Publish) || !Allowed(control, "a/b", "a/c", Publish) ||
		Allowed(control, "a/b", "a/+/x", Subscribe) || Allowed(control, "a/b", "a/b/secret", Publish) {
		t.Error("a prefix of two levels")
	}
}

// Whatever a filter that is allowed matches must be allowed on its own, else
// it would give what is somebody else's.
func FuzzAllowed(f *testing.F) {
	for _, s := range []string{"#", "hp/+", "hp/streams/+", "hp/control/response/#", "$share/g/hp/#", "x/+/y", "hp/workers/w1/#", "+/workers/w1"} {
		f.Add(s, "hp/streams/contacts", uint8(2))
	}
	topics := []string{
		"hp/control", "hp/control/response", "hp/control/response/a", "hp/status", "hp/streams/contacts", "hp/changes/c",
		"hp/workers/w1", "hp/workers/w1/commands", "hp/workers/w2", "hp/workers/w2/commands", "hp/workers/w2/pages", "other/x", "hp/secret", "hp",
	}
	f.Fuzz(func(t *testing.T, filter, topic string, role uint8) {
		who := Identity{Role: Role(role % 6)}
		if who.Role == RoleWorker {
			who.Name = "w1"
		}
		if Allowed(who, "hp", filter, Publish) && strings.ContainsAny(filter, "+#\x00") {
			t.Fatalf("publish to %q", filter)
		}
		if !Allowed(who, "hp", filter, Subscribe) {
			return
		}
		for _, x := range append(topics, topic) {
			if validTopic(x, false) && matches(filter, x) && !Allowed(who, "hp", x, Deliver) {
				t.Fatalf("%s may subscribe to %q, which matches %q", who.Role, filter, x)
			}
		}
	})
}

// matches is MQTT's rule, written apart from the code under test.
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") {
		return false
	}
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		if level == "#" {
			return true
		}
		if i >= len(t) || level != "+" && level != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}

func TestWorkerOfUser(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{
		"acme-worker-w1": "w1", "hubpipe-worker-w1": "w1", "acme-worker-": "", "acme-worker-a/b": "", "acme-worker-+": "",
		"acme-daemon": "", "hubpipe": "", "": "", "w1": "",
	} {
		if got, ok := WorkerOfUser("acme", user); got != want || ok != (want != "") {
			t.Errorf("%q: %q %t", user, got, ok)
		}
	}
}

func TestMayUseClient(t *testing.T) {
	t.Parallel()
	daemon, control, w1 := Identity{Role: RoleDaemon}, Identity{Role: RoleControl}, Identity{Role: RoleWorker, Name: "w1"}
	for _, c := range []struct {
		who      Identity
		id       string
		assigned bool
		want     bool
	}{
		{daemon, "hp-daemon", false, true},
		{daemon, "hp-daemon-control", false, true},
		{daemon, "other", false, false},
		{w1, "hp-worker-w1", false, true},
		{w1, "hp-worker-w2", false, false},
		{w1, "other", false, false},
		{w1, "x", true, false},
		{control, "other", false, true},
		{control, "x", true, true},
		{control, "hp-daemon", false, false},
		{control, "hp-worker-w9", false, false},
		{control, "hp", false, false},
		{control, "hpz", false, false},
		{Identity{}, "other", false, false},
	} {
		if got := mayUseClient(c.who, "hp", c.id, c.assigned); got != c.want {
			t.Errorf("%v as %q (assigned %t): %t", c.who, c.id, c.assigned, got)
		}
	}
}
