package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"
)

// What the daemon needs where its memory is limited by the system: addresses,
// of which Go reserves many and the store maps its files at; and memory that can
// be written to. It takes far less of that, but gets it in large pieces, and the
// process ends where one is refused.
const (
	needAddresses = 1600 << 20 // besides the store's files
	needData      = 160 << 20
)

// haveMemory refuses to begin what would end in the middle.
func (d *Daemon) haveMemory(context.Context, context.Context) error {
	// What is not known cannot be held against it.
	addresses, data := syscall.Rlimit{Cur: math.MaxUint64}, syscall.Rlimit{Cur: math.MaxUint64}
	if err := errors.Join(syscall.Getrlimit(syscall.RLIMIT_AS, &addresses), syscall.Getrlimit(syscall.RLIMIT_DATA, &data)); err != nil {
		d.log.Debug("the limits on memory are not known", "error", err)
	}
	files, mapped := filepath.Join(d.o.Config.DataDir, "store", "badger"), uint64(0)
	entries, err := os.ReadDir(files)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("look at the store's files: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			mapped += uint64(info.Size()) //nolint:gosec // of a file
		}
	}
	return enoughMemory(addresses.Cur, data.Cur, mapped)
}

// enoughMemory holds limits in bytes against what is needed with files of that
// size in the store.
func enoughMemory(addresses, data, files uint64) error {
	if need := needAddresses + files; addresses < need {
		return fmt.Errorf("at most %d MiB of addresses may be used (ulimit -v, LimitAS), and hubpipe needs %d here, far more than it takes of memory: "+
			"take the limit away; MemoryMax and GOMEMLIMIT limit what it takes", addresses>>20, need>>20)
	}
	if data < needData {
		return fmt.Errorf("at most %d MiB of memory may be written to (ulimit -d, LimitDATA), and hubpipe needs %d: raise the limit", data>>20, uint64(needData)>>20)
	}
	return nil
}
