package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// TestAvailable lists the whole catalogue, without a daemon or a configuration.
func TestAvailable(t *testing.T) {
	t.Parallel()
	o := try(t, nil, "streams", "--available")
	lines := strings.Split(strings.TrimSpace(o.out), "\n")
	if o.code != 0 || len(lines) != len(catalogue.All())+1 {
		t.Fatalf("exit %d, %d lines: %s", o.code, len(lines), o.errors)
	}
	for _, row := range [][]string{
		{"contacts", "objects", "-", "5m", "crm.objects.contacts.read"},
		{"owners", "whole", "-", "15m", "crm.objects.owners.read"},
		{"list_memberships", "parent", "lists", "1h", "crm.lists.read"},
		{"email_events", "windowed", "-", "5m", "content"},
		{"associations", "parent", "pairs", "it", "names", "1d", "crm.objects.contacts.read"},
		{"deal_splits", "parent", "deals", "1d", "crm.dealsplits.read_write", "(allows", "writing:", "only", "where", "a", "stream", "names", "it)"},
	} {
		found := false
		for _, line := range lines {
			found = found || strings.Join(strings.Fields(line), " ") == strings.Join(row, " ")
		}
		if !found {
			t.Errorf("no line %v in\n%s", row, o.out)
		}
	}
	var got struct{ Streams []available }
	if err := json.Unmarshal([]byte(try(t, nil, "streams", "--available", "-o", "json").out), &got); err != nil || len(got.Streams) != len(catalogue.All()) {
		t.Errorf("%v: %d", err, len(got.Streams))
	}
	if o := try(t, nil, "streams", "--available", "-o", "xml"); o.code != 2 {
		t.Errorf("exit %d", o.code)
	}
}
