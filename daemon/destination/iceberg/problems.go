//go:build iceberg

package iceberg

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/rest"
	"github.com/apache/iceberg-go/table"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// kinds of problems.
const (
	typeUnreachable = "destination-unreachable"
	typeRefused     = "destination-refused"
	typeForeign     = "destination-foreign"
	typeFull        = "destination-full"
	typeFailed      = "destination-failed"
)

// ofThePlace tells whether a problem is that of all streams.
func ofThePlace(err error) bool {
	p, ok := errors.AsType[*stream.Problem](err)
	return ok && (p.Type == typeUnreachable || p.Type == typeRefused || p.Type == typeFull)
}

func isThere(err error) bool {
	return errors.Is(err, catalog.ErrNamespaceAlreadyExists) || errors.Is(err, catalog.ErrTableAlreadyExists)
}

// explain makes of an error what a person can act on.
func (e *Engine) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*stream.Problem](err); ok {
		return err
	}
	text := e.firstLine(err)
	p := &stream.Problem{Type: typeFailed, Title: "the tables cannot be written or read", Detail: doing + ": " + text}
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	var op *net.OpError
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	isPG := errors.As(err, &pg)
	switch {
	case isPG && (pg.Code == "28P01" || pg.Code == "28000"), errors.Is(err, rest.ErrUnauthorized), errors.Is(err, rest.ErrAuthorizationExpired), errors.Is(err, rest.ErrOAuthError):
		p.Type, p.Title, p.Blocked = typeRefused, "the catalogue refuses the credentials", true
		p.Hint = "check uri of the destination, or token and credential, and the properties of the catalogue"
	case isPG && pg.Code == "3D000":
		p.Type, p.Title, p.Blocked = typeRefused, "there is no such database", true
		p.Hint = "create it, or name another one in the destination's uri"
	case isPG && pg.Code == "42501", errors.Is(err, rest.ErrForbidden):
		p.Type, p.Title, p.Blocked = typeRefused, "the catalogue's user may not do that", true
		p.Hint = "let it make and change tables in namespace " + e.o.Namespace + "; the SQL catalogue's tables are iceberg_tables and iceberg_namespace_properties"
	case errors.Is(err, table.ErrCommitFailed), has("requirement failed", "Requirement failed"):
		return othersWrote(doing)
	case has("NoSuchBucket"):
		p.Type, p.Title, p.Blocked = typeRefused, "there is no such bucket", true
		p.Hint = "create it, or name another warehouse; look at s3.region and s3.endpoint in properties, too"
	case has("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AccessDenied", "no EC2 IMDS role found"):
		p.Type, p.Title, p.Blocked = typeRefused, "the object store refuses the key", true
		p.Hint = "check access_key and secret_key of the destination, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where it has none"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOTDIR):
		p.Type, p.Title, p.Blocked = typeRefused, "the warehouse's folder may not be written", true
		p.Hint = "let the user that hubpipe runs as write to it"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), has("XMinioStorageFull", "QuotaExceeded"):
		p.Type, p.Title = typeFull, "the warehouse is full"
		p.Hint = "make room in it; hubpipe goes on by itself from where it was"
	case isPG && (strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P")), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF), has("conn closed"),
		errors.As(err, &op), errors.As(err, &connect), errors.Is(err, rest.ErrServiceUnavailable), errors.Is(err, context.DeadlineExceeded):
		p.Type, p.Title = typeUnreachable, "the catalogue or its object store cannot be reached"
		p.Hint = "is it running, and may this machine connect? It is tried again by itself"
	}
	return p
}

// othersWrote is why nothing is written behind a commit that is not the newest.
func othersWrote(doing string) error {
	return &stream.Problem{Type: typeForeign, Title: "somebody else has written to the table", Detail: doing + ": the table is not as it was read",
		Hint: "it is read again by itself; if it stays, two daemons write to one table, or maintenance of the table comes between often"}
}

// shortest is how long what may be a secret is at least, so that no word of an error
// is taken for one.
const shortest = 6

// firstLine is an error without secrets, and without what a server may have sent
// with it.
func (e *Engine) firstLine(err error) string {
	s, _, _ := strings.Cut(fmt.Sprint(err), "\n")
	id, key, _ := strings.Cut(e.o.Credential, ":")
	secrets := []string{e.o.URI, e.o.Token, e.o.Credential, e.o.SecretKey, e.o.AccessKey}
	// No name tells which of the properties is one.
	for _, v := range slices.AppendSeq([]string{id, key}, maps.Values(e.o.Properties)) {
		if len(v) >= shortest {
			secrets = append(secrets, v)
		}
	}
	// A longer one may have a shorter one in it.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "…")
		}
	}
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
