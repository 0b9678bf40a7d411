package postgres

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// kinds of problems.
const (
	typeUnreachable = "destination-unreachable"
	typeRefused     = "destination-refused"
	typeForeign     = "destination-foreign"
	typeFull        = "destination-full"
	typeSchema      = "destination-schema"
	typeFailed      = "destination-failed"
)

// explain makes of an error what a person can act on. The text of an error of
// the server may hold a row's values, so that its detail is never shown.
func (e *Engine) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*stream.Problem](err); ok {
		return err
	}
	pe, isServer := errors.AsType[*pgconn.PgError](err)
	if !isServer {
		if ce, ok := errors.AsType[*pgconn.ConnectError](err); ok {
			return &stream.Problem{Type: typeUnreachable, Title: "the database cannot be reached", Detail: reason(ce),
				Hint: "is it running at " + e.Target() + ", and may this machine connect? It is tried again by itself"}
		}
		if isGone(err) {
			return &stream.Problem{Type: typeUnreachable, Title: "the connection to the database has ended", Detail: doing + ": " + err.Error(),
				Hint: "is it running at " + e.Target() + "? Its log says why it ended. It is tried again by itself"}
		}
		return fmt.Errorf("%s: %w", doing, err)
	}
	p := &stream.Problem{Type: typeFailed, Title: "the database refuses what is written", Detail: doing + ": " + said(pe)}
	switch {
	case pe.Code == "28P01" || pe.Code == "28000":
		p.Type, p.Title, p.Blocked = typeRefused, "the database refuses the user", true
		p.Hint = "check user and password in the destination's url, and pg_hba.conf of the server"
	case pe.Code == "3D000":
		p.Type, p.Title, p.Blocked = typeRefused, "there is no such database", true
		p.Hint = "create it, or name another one in the destination's url"
	case pe.Code == "42501":
		p.Type, p.Title, p.Blocked = typeRefused, "the database's user may not do that", true
		p.Hint = e.grants()
	case pe.Code == "53100":
		p.Type, p.Title = typeFull, "the database's disk is full"
		p.Hint = "make room on it; hubpipe goes on by itself from where it was"
	case pe.Code == "25006":
		p.Type, p.Title, p.Blocked = typeRefused, "the database takes no writes", true
		p.Hint = "name its primary in the destination's url, not a replica"
	case pe.Code == "53300":
		p.Title, p.Hint = "the database has no connection left", "raise max_connections, or close some; it is tried again by itself"
	case pe.Code == "55P03":
		p.Title, p.Hint = "somebody holds a lock on the table", "end the transaction that holds it; it is tried again by itself"
	case strings.HasPrefix(pe.Code, "57P"):
		p.Type, p.Title, p.Hint = typeUnreachable, "the database is stopping or starting", "it is tried again by itself"
	case strings.HasPrefix(pe.Code, "08"):
		p.Type, p.Title, p.Hint = typeUnreachable, "the connection to the database has ended", "it is tried again by itself"
	}
	return p
}

// grants is what an administrator types so that the user may write.
func (e *Engine) grants() string {
	user := "hubpipe"
	if e.config != nil && e.config.User != "" {
		user = e.config.User
	}
	return fmt.Sprintf("as an administrator: CREATE SCHEMA IF NOT EXISTS %s AUTHORIZATION %s; or, where it is there: GRANT USAGE, CREATE ON SCHEMA %[1]s TO %[2]s",
		quote(e.o.Schema), quote(user))
}

// said is the server's message with its code. What quotes rows is left out.
func said(e *pgconn.PgError) string {
	s := e.Message + " (" + e.Code + ")"
	if strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "23") {
		s = "a value is not what the table takes (" + e.Code + ")" // the message quotes it
	}
	if e.TableName != "" {
		s += ", table " + e.TableName
	}
	return s
}

// reason is why nobody answered, without the name of the user. Each address is
// tried with TLS and, where that may be, without: what is the same is said once.
func reason(err *pgconn.ConnectError) string {
	var said []string
	for line := range strings.Lines(errors.Unwrap(err).Error()) {
		if _, after, ok := strings.Cut(line, "): "); ok {
			line = after
		}
		if line = strings.Join(strings.Fields(line), " "); line != "" && !slices.Contains(said, line) {
			said = append(said, line)
		}
	}
	return strings.Join(said, "; ")
}

// isGone tells whether the connection has ended without a word of the server's.
func isGone(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// isData tells whether it is the values that the server refuses.
func isData(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pe.Code, "22") || pe.Code == "54000" || strings.HasPrefix(pe.Code, "23"))
}

// isTaken tells whether there is a row of that key already.
func isTaken(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "23505"
}

// isLocked tells whether somebody else holds a lock for too long.
func isLocked(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "55P03"
}

// isDependent tells whether something of somebody else's, such as a view, is made
// of a column.
func isDependent(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "0A000" || pe.Code == "2BP01")
}
