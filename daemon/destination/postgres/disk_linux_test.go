package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// The disk of the tables is full: the destination says so, and goes on by itself
// when there is room. Nothing is lost or doubled.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	disk := pg.SmallDisk("tables", 48)
	pg.SQL("postgres", "CREATE TABLESPACE small LOCATION '"+disk+"'")
	pg.SQL("postgres", "ALTER DATABASE "+pgserver.Database+" SET TABLESPACE small")
	r := newRig(t, pg, postgres.Options{})
	r.fills(pg.Fill, disk, func(s destination.Status) bool {
		return s.State == destination.Failing && s.Error.Type == "destination-full" && strings.Contains(s.Error.Hint, "make room")
	}, func() {})
}

// The disk of the server's log is full, of which the server dies, again and again
// where it is started. What had been committed is there when it has room again.
func TestFullDiskOfTheLog(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	disk := pg.SmallDisk("small", 48)
	pg.Down()
	pg.MoveLog(disk)
	pg.Up()
	r := newRig(t, pg, postgres.Options{})
	r.fills(pg.Fill, disk, func(s destination.Status) bool {
		return s.State == destination.Failing && s.Error.Type == "destination-unreachable" && strings.Contains(s.Error.Hint, "tried again by itself")
	}, func() {
		pg.Kill()
		pg.Up()
	})
}

// fills writes rows, some of them while a disk is full.
func (r *rig) fills(fill func(string) func(), disk string, says func(destination.Status) bool, mended func()) {
	r.t.Helper()
	const rows = 3000
	put := func(from int, mark string) {
		var list []*stream.Record
		for i := from; i < rows; i += 2 {
			list = append(list, record(fmt.Sprint(i), fmt.Sprintf(`{"a":%q}`, strings.Repeat(fmt.Sprintf("%s %d, ", mark, i), 100))))
		}
		r.Put("contacts", list...)
	}
	r.Define("contacts", "a string")
	put(0, "first")
	r.Start()
	r.settled()
	free := fill(disk)
	put(0, "changed")
	put(1, "new")
	r.Until(says)
	free()
	mended()
	r.settled()
	r.is(fmt.Sprintf("%d|%[1]d|%d", rows, rows/2), "SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE a LIKE 'changed%%') FROM contacts")
	r.is(fmt.Sprint(rows*3/2), "SELECT rows_written FROM hubpipe_streams")
}
