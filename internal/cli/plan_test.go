package cli

import (
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// A plan that changes nothing says so; one of settings alone does not.
func TestPlanText(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		plan client.Plan
		want string
	}{
		{client.Plan{}, "nothing changes\n"},
		{client.Plan{Settings: []string{"user ann: role: reader → control"}}, "takes over: user ann: role: reader → control\n"},
		{client.Plan{Restart: []string{"http.tls: off → on"}}, "waits for a restart: http.tls: off → on\n"},
	} {
		var b strings.Builder
		if err := planText(&b, x.plan); err != nil || b.String() != x.want {
			t.Errorf("%v: %q, want %q", err, b.String(), x.want)
		}
	}
}
