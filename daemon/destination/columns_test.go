package destination

import (
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

func rulesFor(c Choice, object string, definitions ...stream.Property) *Rules {
	return newRules(&c, Stream{Name: "eu_" + object, Object: object}, []byte("salt"), definitions)
}

// The first rule that means a property holds.
func TestWhichRule(t *testing.T) {
	t.Parallel()
	c := Choice{Exclude: []string{"eu_contacts.gone"}, Hash: []string{"*.nick", "score*"}, Truncate: []Truncation{{"zip", 2}, {"nick", 3}}, Keep: []string{"firstname"}, Personal: Exclude}
	r := rulesFor(c, "contacts", stream.Property{Name: "secret", Sensitive: true}, stream.Property{Name: "gone"}, stream.Property{Name: "nick"},
		stream.Property{Name: "email"}, stream.Property{Name: "zip"}, stream.Property{Name: "firstname"}, stream.Property{Name: "plain"})
	for property, want := range map[string]string{"gone": Exclude, "nick": r.mark, "scores": r.mark, "zip": "truncate 2", "firstname": "", "secret": Exclude,
		"email": Exclude, "work_email": Exclude, "plain": "", "undefined": Exclude} {
		if got := r.Mark(property); got != want {
			t.Errorf("%s is %q, want %q", property, got, want)
		}
	}
	if got := rulesFor(c, "deals").Mark("undefined"); got != "" {
		t.Errorf("of rows without definitions an unknown property is %q", got)
	}
	if got := rulesFor(c, "companies").Mark("gone"); got != "" {
		t.Errorf("a rule of another stream holds: %q", got)
	}
	if (*Rules)(nil).Mark("email") != "" || (*Rules)(nil).IDs() != "" {
		t.Error("without rules something is done")
	}
}

// What names a person in rows that HubSpot has no definitions of.
func TestPersonalRows(t *testing.T) {
	t.Parallel()
	for object, properties := range map[string][]string{
		"email_events":          {"recipient", "response", "dropMessage", "requestedBy"}, // a bounce's text names the address
		"conversation_messages": {"text", "createdBy"},                                   // an actor may be E-ann@example.com
	} {
		for _, p := range properties {
			if got := rulesFor(Choice{Personal: Exclude}, object).Mark(p); got != Exclude {
				t.Errorf("%s of %s is %q", p, object, got)
			}
		}
	}
}

// Values as the destination gets them, whatever they are.
func TestApplied(t *testing.T) {
	t.Parallel()
	// printf 'ann@example.com' | openssl dgst -sha256 -hmac salt
	const ann = "8dbf86487e8fb70c73c4a7e24ece98aa58be0c693f69a36bcc5a098f82b26db8"
	r := rulesFor(Choice{Exclude: []string{"gone"}, Hash: []string{"h"}, Truncate: []Truncation{{"t", 3}}, Personal: Hash}, "deals")
	for _, tt := range []struct{ name, in, want string }{
		{"hash", `{"h":" Ann@Example.COM\t"}`, `{"h":"` + ann + `"}`},
		{"escaped", `{"\u0068":"\u0061nn@example.com"}`, `{"\u0068":"` + ann + `"}`},
		{"nothing", `{"h":"","gone":"","t":null}`, `{"h":"","t":null}`},
		{"spaces", `{"h":"  "}`, `{"h":""}`},
		{"order and space", `{ "a" : 1 , "gone" : {"x":[1]}, "b":[2] }`, `{"a":1,"b":[2]}`},
		{"cut", `{"t":"äöü€ß"}`, `{"t":"äöü"}`},
		{"cut a number", `{"t":12345}`, `{"t":"123"}`},
		{"cut what is nested", `{"t":{"a":"b"}}`, `{"t":"{\"a"}`},
		{"no JSON", `{"a":1,`, ``},
		{"no object", `"ann@example.com"`, ``},
	} {
		rec := &stream.Record{Head: stream.Head{ID: "1"}, Properties: []byte(tt.in)}
		r.apply(rec)
		if got := string(rec.Properties); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
	rec := &stream.Record{Head: stream.Head{ID: "1"}, History: []byte(`{"gone":[{"value":"x"}],"h":[{"value":"Ann@example.com","sourceId":"ann@example.com","at":1},{"value":null}],"a":[{"value":"ann@example.com","sourceLabel":"ann@example.com"}]}`)}
	r.apply(rec)
	want := `{"h":[{"value":"` + ann + `","sourceId":"` + ann + `","at":1},{"value":null}],"a":[{"value":"ann@example.com","sourceLabel":"` + ann + `"}]}`
	if got := string(rec.History); got != want {
		t.Errorf("history:\n got %s\nwant %s", got, want)
	}
}

// Ids that are made of an address do not show it, and two that differ stay two.
func TestIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []Choice{{Personal: Exclude}, {Personal: Hash}, {Hash: []string{"recipient"}}, {Exclude: []string{"recipient"}}} {
		r := rulesFor(c, "subscription_changes")
		a, b := r.id("ann@example.com/1"), r.id("Ann@example.com/1")
		if len(a) != 64 || a == b || r.id("") != "" {
			t.Errorf("%+v: %s %s", c, a, b)
		}
		if id := rulesFor(c, "contacts").id("1"); id != "1" {
			t.Errorf("a contact's id is %s", id)
		}
	}
	// The end of a form submission's is a hash of the answers without a salt.
	if id := rulesFor(Choice{Personal: Exclude}, "form_submissions").id("f/1767225600000/0123456789abcdef"); len(id) != 64 {
		t.Errorf("a form submission's id is %s", id)
	}
	if r := rulesFor(Choice{Personal: Hash, Keep: []string{"recipient"}}, "subscription_changes"); r.id("x") != "x" {
		t.Error("what is kept is hashed in the id")
	}
}
