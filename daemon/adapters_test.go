package daemon

import "testing"

func TestIntervalsAreWrittenOneWay(t *testing.T) {
	t.Parallel()
	for _, typed := range []string{"5m", "5m0s", "300s", "5 m", " 5 minutes "} {
		if s, text, err := parseInterval(typed); err != nil || text != "5m" || s == nil {
			t.Errorf("%q: %q, %v", typed, text, err)
		}
	}
	for _, typed := range []string{"0s", "5", "soon", "-5m", "999ms"} {
		if _, _, err := parseInterval(typed); err == nil {
			t.Errorf("%q is an interval", typed)
		}
	}
}
