package cli

import (
	"testing"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// The newest configuration takes the place of one that nobody took up, and
// nobody waits for it.
func TestTheNewestConfigurationCounts(t *testing.T) {
	t.Parallel()
	to := make(chan *config.Config, 1)
	for _, path := range []string{"one", "two", "three"} {
		replace(to, &config.Config{Path: path})
	}
	if got := <-to; got.Path != "three" {
		t.Errorf("%s", got.Path)
	}
}
