package dispatch

import (
	"fmt"
	"time"
)

// DropVersions lets superseded versions go that the store has found to be due, in
// a commit of their own.
func (d *Dispatcher) DropVersions(now time.Time, due [][]byte) ([]Out, error) {
	c := d.begin(now)
	if err := c.open(); err != nil {
		return nil, err
	}
	if err := c.tx.DropVersions(due); err != nil {
		return nil, c.abandon(fmt.Errorf("drop versions: %w", err))
	}
	return c.commit()
}
