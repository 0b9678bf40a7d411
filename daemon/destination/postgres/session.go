package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// session is one connection. All but Pack is called by one goroutine.
type session struct {
	e      *Engine
	conn   *pgx.Conn
	origin destination.Origin

	mu      sync.Mutex // guards the map, and layouts in it
	streams map[string]*table
}

// table is a stream's table in this session.
type table struct {
	info   destination.Table
	layout *layout
	// remarks are what a person should know of the table's shape.
	remarks []string
	merge   map[destination.Mode]string // statements of the layout
	// loads are the staging tables of which is known what they hold, by name.
	loads map[string]load
}

// load is how many rows a staging table holds, and how many were deleted from it
// one by one.
type load struct{ rows, dead int }

var _ interface {
	destination.Remarker
	destination.Versioned
} = (*session)(nil)

// goodbye bounds how long the server is told of the end.
const goodbye = 2 * time.Second

// Close ends the session; what was not committed is undone.
func (s *session) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = s.conn.Close(ctx) // the server ends it otherwise
}

// Broken says that the connection has ended.
func (s *session) Broken() bool { return s.conn.IsClosed() }

// in is a table of the destination's schema, quoted; of "" what stands before
// its name.
func (s *session) in(name string) string {
	if name == "" {
		return quote(s.e.o.Schema) + "."
	}
	return quote(s.e.o.Schema) + "." + quote(name)
}

// script runs statements, one after the other, within the transaction that is
// open or in one of their own.
func (s *session) script(ctx context.Context, sql string) error {
	_, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// inTx runs f in a transaction.
func (s *session) inTx(ctx context.Context, doing string, f func(tx pgx.Tx) error) error {
	return s.e.explain(doing, pgx.BeginFunc(ctx, s.conn, f))
}

func (s *session) of(name string) *table {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name]
}

func (s *session) layoutOf(name string) *layout {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name].layout
}

// Remarks are what a person should know of the shape of a stream's table.
func (s *session) Remarks(name string) []string { return s.of(name).remarks }

// Pack makes of records what Write takes.
func (s *session) Pack(name string, records []*stream.Record) destination.Packed {
	return pack(s.layoutOf(name), records, false)
}
