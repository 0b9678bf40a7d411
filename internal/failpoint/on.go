//go:build failpoints

// Package failpoint names the steps between which a process may die. Built with
// the tag failpoints a step can be made the last one; built without it, as all
// that people run, a step is an empty function that the compiler removes.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Var is the environment variable that makes a step the last: "name:n" kills
// the process, as SIGKILL does, the nth time it comes there.
const Var = "HUBPIPE_FAILPOINT"

// hits is global, since a step has nothing to carry it; a build that people run
// does not have it.
var hits struct { //nolint:gochecknoglobals // see above
	sync.Mutex
	n int
}

// Hit marks a step that has just been done, and ends the process where the
// environment says so.
func Hit(p Point) {
	name, count, _ := strings.Cut(os.Getenv(Var), ":")
	if name != string(p) {
		return
	}
	last, err := strconv.Atoi(count)
	if err != nil {
		last = 1
	}
	hits.Lock()
	defer hits.Unlock()
	if hits.n++; hits.n >= last {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // nothing is done after it
	}
}
