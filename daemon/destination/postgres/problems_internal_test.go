package postgres

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// A connection that ends without a word says what to do, too.
func TestGone(t *testing.T) {
	t.Parallel()
	e := New(Options{URL: "postgres://me:secret-canary@db.example/analytics"})
	for _, err := range []error{io.ErrUnexpectedEOF, fmt.Errorf("write failed: %w", io.EOF), &net.OpError{Op: "read", Err: syscall.ECONNRESET}, net.ErrClosed} {
		p, ok := errors.AsType[*stream.Problem](e.explain("write contacts", err))
		if !ok || p.Type != typeUnreachable || p.Hint == "" || p.Blocked {
			t.Errorf("%v: %+v", err, p)
		}
	}
}
