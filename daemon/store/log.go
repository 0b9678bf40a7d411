package store

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/hashicorp/go-hclog"
)

// badgerLog gives Badger's lines to our logger; what it says at info level is
// of no use to an operator.
type badgerLog struct {
	log hclog.Logger
	// ignored is set when Badger opens without a table that it cannot read:
	// it says so nowhere else.
	ignored atomic.Bool
}

var _ badger.Logger = (*badgerLog)(nil)

func (l *badgerLog) Errorf(f string, a ...any) {
	if strings.HasPrefix(f, "Ignoring table") {
		l.ignored.Store(true)
	}
	l.log.Error(line(f, a))
}

func (l *badgerLog) Warningf(f string, a ...any) { l.log.Warn(line(f, a)) }
func (l *badgerLog) Infof(f string, a ...any)    { l.log.Debug(line(f, a)) }
func (l *badgerLog) Debugf(string, ...any)       {}

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
