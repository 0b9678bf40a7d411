package daemon

import (
	"math"
	"strings"
	"testing"
)

// A limit on memory below what is needed is said before anything begins, with
// what to do about it.
func TestEnoughMemory(t *testing.T) {
	t.Parallel()
	const none = math.MaxUint64
	for _, c := range []struct {
		addresses, data, files uint64
		says                   string
	}{
		{none, none, 1 << 50, ""},
		{needAddresses + 1<<30, needData, 1 << 30, ""},
		{needAddresses + 1<<30 - 1, none, 1 << 30, "LimitAS"},
		{none, needData - 1, 0, "LimitDATA"},
		{0, 0, 0, "LimitAS"},
	} {
		err := enoughMemory(c.addresses, c.data, c.files)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
