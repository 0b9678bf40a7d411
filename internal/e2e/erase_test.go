package e2e

import (
	"strings"
	"testing"
)

// A person is asked before a record goes for good; only y means it.
func TestEraseAsks(t *testing.T) {
	t.Parallel()
	need(t, "tmux")
	s := newSystem(t, "--contacts", "5", "--deals", "5", "--limits=false")
	s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts")
	ids := s.live("contacts")
	asked := func(id, answer string) *terminal {
		t.Helper()
		x := newTerminal(t, s.dir, 120, 24, inTerminal(s.bin+" erase contacts "+id))
		x.shows("all that is held of "+id+" of contacts goes for good", "y does it, anything else does not:")
		x.types(answer, "Enter")
		return x
	}
	asked(ids[0], "n").shows("nothing was done", "it ended with 1")
	asked(ids[0], "yes").shows("nothing was done", "it ended with 1")
	if out, err := s.hubpipe("erase"); err != nil || strings.Contains(out, ids[0]) {
		t.Errorf("%v\n%s", err, out)
	}
	asked(ids[0], "y").shows("erased "+ids[0]+" of contacts", "it ended with 0")
	if out, err := s.hubpipe("erase"); err != nil || !strings.Contains(out, ids[0]) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := s.hubpipe("erase", "contacts", "4711"); err == nil || !strings.Contains(err.Error(), `contacts holds no record "4711"`) {
		t.Errorf("an id that is not held: %v", err)
	}
}

// A reader that has had enough ends an export quietly, as with other tools.
func TestExportIntoHead(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "--contacts", "3000", "--limits=false")
	s.configure(settings{streams: []string{"contacts"}})
	s.daemon()
	s.worker("--name", "w1")
	s.becomesEqual("contacts")
	for _, verb := range []string{"export contacts", "records contacts", "changes contacts", "changes contacts --follow", "export contacts --format csv"} {
		p := run(t, s.dir, "sh", "-c", "("+s.bin+" "+verb+"; echo \"ended with $?\" >&2) | head -n 1 | wc -l")
		p.says(t, "ended with 0")
		if code := p.exit(t); code != 0 || strings.Contains(p.log.String(), "hubpipe:") || !strings.Contains(p.log.String(), "1") {
			t.Errorf("%s: exit %d\n%s", verb, code, p.log)
		}
	}
}
