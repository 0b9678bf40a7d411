package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// figuresFor is how long figures are used again: they cost a look at the disk,
// and who watches is told of each change.
const figuresFor = 10 * time.Second

// unreadFigures is what the log says where the disk cannot be looked at.
const unreadFigures = "what the store takes and what the disk has cannot be read; all else is told"

// figures are the last that were looked for.
type figures struct {
	mu     sync.Mutex // guards what follows
	at     time.Time
	last   *client.Figures // nil before the first
	unread bool            // whether the log has said that they cannot be read
}

// toldFigures are the figures for those who watch: those of before where there are
// none now, and nil where there never were. A disk that cannot be looked at, as
// with too few descriptors, holds nothing else up.
func (d *Daemon) toldFigures(ctx context.Context) *client.Figures {
	f, err := d.Figures(ctx)
	d.figures.mu.Lock()
	defer d.figures.mu.Unlock()
	if err == nil {
		d.figures.unread = false
		return &f
	}
	if !d.figures.unread {
		d.figures.unread = true
		d.log.Warn(unreadFigures, "error", err)
	}
	return d.figures.last
}

// Figures is what the daemon takes and who is connected to it.
func (d *Daemon) Figures(context.Context) (client.Figures, error) {
	d.figures.mu.Lock()
	defer d.figures.mu.Unlock()
	if !d.figures.at.IsZero() && time.Since(d.figures.at) < figuresFor {
		return *d.figures.last, nil
	}
	disk, err := d.store.Disk()
	if err != nil {
		return client.Figures{}, err
	}
	// Free space moves with whatever else the machine does.
	f := client.Figures{StoreBytes: disk.Tree + disk.Log, FreeBytes: disk.Free &^ (1<<24 - 1)}
	if d.embedded != nil {
		n := d.embedded.Stats().Connections
		f.BrokerConnections = &n
	}
	d.figures.at, d.figures.last = time.Now(), &f
	return f, nil
}
