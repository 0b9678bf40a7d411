package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Of the files that the process may have open, the store has those that it has,
// and ownDescriptors are for all else that has to go on: sockets, the worker's
// connections, the files that the store makes next. What is left is for whoever
// connects.
const (
	ownDescriptors = 40
	mostPeers      = 1024 // connections of a listener
	fewestPeers    = 6
	listeners      = 4 // HTTP and MQTT, and their sockets
)

// shareDescriptors holds the limit on open files against what is needed: a store
// that cannot open its next file can write nothing more. Fewer than usual leave
// room for fewer connections.
func (d *Daemon) shareDescriptors(context.Context, context.Context) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		d.log.Debug("the limit on open files is not known", "error", err)
		d.peers = mostPeers
		return nil
	}
	files, err := os.ReadDir(filepath.Join(d.o.Config.DataDir, "store", "badger"))
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("count the store's files: %w", err)
	}
	var wrong error
	d.peers, wrong = peersWithin(limit.Cur, len(files))
	if wrong == nil && d.peers < mostPeers {
		d.log.Warn("few files may be open at once: few can connect", "limit", limit.Cur, "connections", d.peers)
	}
	return wrong
}

// peersWithin is how many connections each of the listeners may have.
func peersWithin(limit uint64, files int) (int, error) {
	need := uint64(files + ownDescriptors + listeners*fewestPeers) //nolint:gosec // what a folder holds
	if limit < need {
		return 0, fmt.Errorf("at most %d files may be open at once (ulimit -n, LimitNOFILE), and hubpipe needs %d here: raise the limit", limit, need)
	}
	return int(min((limit-need)/listeners+fewestPeers, mostPeers)), nil //nolint:gosec // bounded
}
