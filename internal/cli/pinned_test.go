package cli

import (
	"testing"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// A version that the configuration names is the only one that is asked for;
// where it names none, HubSpot's answer may lead to an older one.
func TestAPIVersionIsPinned(t *testing.T) {
	t.Parallel()
	if o := portalOptions(config.Portal{APIVersion: "2026-03"}, ""); o.Version != "2026-03" || !o.Pinned {
		t.Errorf("%+v", o)
	}
	if o := portalOptions(config.Portal{}, ""); o.Version != "" || o.Pinned {
		t.Errorf("%+v", o)
	}
}
