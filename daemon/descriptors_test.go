package daemon

import (
	"strings"
	"testing"
)

func TestPeersWithin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit uint64
		files int
		want  int // 0: refused
	}{{1 << 62, 10, mostPeers}, {20000, 10, mostPeers}, {1024, 10, 243}, {1024, 900, 21}, {1024, 1000, 0}, {74, 10, fewestPeers}, {73, 10, 0}} {
		got, err := peersWithin(c.limit, c.files)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("of %d with %d files: %d %v, want %d", c.limit, c.files, got, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "LimitNOFILE") {
			t.Errorf("it does not say what to raise: %v", err)
		}
	}
}
