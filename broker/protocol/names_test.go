package protocol

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The topics are what scripts and other people's rules for a broker rely on.
func TestWhatTopicsAreCalled(t *testing.T) {
	t.Parallel()
	at := Topics{Prefix: "acme/hubpipe"}
	for got, want := range map[string]string{
		at.Control():           "control",
		at.ControlResponse():   "control/response",
		at.Status():            "status",
		at.Stream("contacts"):  "streams/contacts",
		at.Changes("contacts"): "changes/contacts",
		at.Worker("w"):         "workers/w",
		at.Commands("w"):       "workers/w/commands",
		at.Answers("w"):        "workers/w/answers",
		at.Pages("w"):          "workers/w/pages",
		at.Heartbeat("w"):      "workers/w/heartbeat",
	} {
		if got != "acme/hubpipe/"+want {
			t.Errorf("%s, want %s below the prefix", got, want)
		}
	}
	for _, id := range []string{at.DaemonClient(), at.DaemonControlClient(), at.WorkerClient("w")} {
		if !strings.HasPrefix(id, at.Prefix) {
			t.Errorf("client id %s does not begin with the prefix: it would be anybody's", id)
		}
	}
}

// Numbers come before text and by their value: "9" before "10". What only looks
// like a number is text, since another id has that value.
func TestOrderOfIDs(t *testing.T) {
	t.Parallel()
	sorted := []string{"0", "7", "9", "10", "53", "18446744073709551615",
		"", "+5", "-1", "007", "18446744073709551616", "1e3", "5 ", "a", "a:10", "a:9", "a" + AfterAll, AfterAll}
	slices.SortFunc(sorted[6:], strings.Compare) // of text the order is that of its bytes
	got := slices.Clone(sorted)
	slices.Reverse(got)
	slices.SortFunc(got, CompareIDs)
	if d := cmp.Diff(sorted, got); d != "" {
		t.Error(d)
	}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := CompareIDs(a, b); got != -CompareIDs(b, a) || (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
}

// What names a page beside its bytes is read back, and nothing else is.
func TestNameOfAPage(t *testing.T) {
	t.Parallel()
	p := &Page{Store: "s", Epoch: 3, Process: "p", Attempt: 7, Range: 2, Seq: 9}
	if d := cmp.Diff(p, Named(p.Name())); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"", "x", "{}", `{"s":"s","p":"p","a":0}`, `{"s":"","p":"p","a":1}`, `{"s":"s","p":"","a":1}`,
		`{"s":"s","p":"p","a":-1}`, `{"s":"` + strings.Repeat("s", maxName) + `","p":"p","a":1}`} {
		if got := Named([]byte(name)); got != nil {
			t.Errorf("%.60q names %+v", name, got)
		}
	}
}

// Lists and pages with the same content are called the same, in every process and
// version, since the ledger keeps what they were called.
func TestWhatListsAndPagesAreCalled(t *testing.T) {
	t.Parallel()
	if got := ListHash([]string{"email", "phone"}); got != "845ccc77d8b37ff0" {
		t.Errorf("a list is called %s", got)
	}
	if ListHash([]string{"a", "b"}) == ListHash([]string{"ab"}) || ListHash(nil) == ListHash([]string{"a"}) {
		t.Error("two lists have one name")
	}
	if got := Digest([]byte("page")); got != "f20db1776345c402" {
		t.Errorf("a page is called %s", got)
	}
	if Digest([]byte("page")) == Digest([]byte("pagf")) {
		t.Error("two pages have one name")
	}
}
