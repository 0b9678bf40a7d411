package postgres_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

// A transaction that somebody has left open holds up the stream whose rows it has
// locked, which says so, and no other.
func TestLockedBySomebody(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Streams = append(r.Streams, destination.Stream{Name: "owners", Object: "owners"})
	r.Define("contacts", "a string")
	r.Put("contacts", record("1", `{"a":"x"}`))
	r.Put("owners", record("1", `{"email":"e"}`))
	r.Start()
	r.settled()
	r.Put("contacts", record("1", `{"a":"staged"}`))
	r.settled()
	conn, err := pgx.Connect(t.Context(), r.o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), "UPDATE "+r.o.Schema+".contacts SET a = 'mine'")
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Put("contacts", record("1", `{"a":"y"}`))
	s := r.Until(func(s destination.Status) bool { return s.State == destination.Failing })
	if s.Streams[0].Error == nil || s.Streams[1].Error != nil || !strings.Contains(s.Error.Title, "lock") || s.Error.Hint == "" {
		t.Errorf("it says %+v, of the other stream %v", s.Error, s.Streams[1].Error)
	}
	r.Put("owners", record("1", `{"email":"f"}`))
	r.Until(func(destination.Status) bool { return r.sql("SELECT email FROM owners") == "f" })
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.settled()
	r.is("y", "SELECT a FROM contacts")
}
