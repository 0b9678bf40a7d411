package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// When a session says that it cannot connect: soon, but not of a broker that
// starts at the same moment, and then rarely.
const (
	quietFor    = 700 * time.Millisecond
	repeatAfter = 10 * time.Minute
	// firstTimeout bounds the first attempt, so that a broker that does not
	// answer is told of soon too.
	firstTimeout = 2 * time.Second
)

// ErrRefused says that the broker answered and does not let us in; Reason is
// MQTT's code.
type ErrRefused struct{ Reason byte }

// Error gives the reason in plain words, and which settings it is about.
func (e ErrRefused) Error() string {
	switch e.Reason {
	case 0x84:
		return "it does not speak MQTT 5"
	case 0x85:
		return "it does not take the client's name"
	case 0x86, 0x87:
		return "it refuses the user name or the password; see broker { username, password }"
	case 0x88, 0x89:
		return "it is busy"
	case 0x8a:
		return "it has banned us"
	}
	return fmt.Sprintf("it refuses us: reason 0x%02x", e.Reason)
}

// Credentials says whether user name and password are what is wrong.
func (e ErrRefused) Credentials() bool { return e.Reason == 0x86 || e.Reason == 0x87 }

// Name says whether it is the client's name: of hubpipe's own broker, that the
// credentials are good, and another's.
func (e ErrRefused) Name() bool { return e.Reason == 0x85 }

// ease takes from the last will what the broker refused of it, and tells whether
// there was something to take: without being retained it still tells those who
// listen.
func (s *Session) ease(err error) bool {
	var refused ErrRefused
	if s.will == nil || !errors.As(err, &refused) {
		return false
	}
	eased := *s.will
	switch {
	case refused.Reason == 0x9a && eased.Retain:
		eased.Retain = false
	case refused.Reason == 0x9b && eased.QoS > 0:
		eased.QoS = 0
	default:
		return false
	}
	s.will = &eased
	return true
}

// notUp is why AwaitUp gave up: it reads as the reason, and is the context's
// error too.
type notUp struct{ end, reason error }

func (e notUp) Error() string   { return e.reason.Error() }
func (e notUp) Unwrap() []error { return []error{e.end, e.reason} }

// plainError reads as a sentence for people and keeps the error it is about.
type plainError struct {
	text string
	err  error
}

func (e plainError) Error() string { return e.text }
func (e plainError) Unwrap() error { return e.err }

// plainly says why there is no connection, without the words of sockets.
func plainly(err error) error {
	var netErr net.Error
	var dns *net.DNSError
	var notTLS tls.RecordHeaderError
	var badCert *tls.CertificateVerificationError
	var text string
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		text = "connection refused"
	case errors.Is(err, fs.ErrNotExist):
		text = "there is no such socket"
	case errors.As(err, &dns):
		text = "there is no host " + dns.Name
		if !dns.IsNotFound {
			text = "the address of host " + dns.Name + " cannot be found out"
		}
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout():
		text = "no answer"
	case errors.As(err, &notTLS):
		text = "it does not speak TLS there"
	case errors.As(err, &badCert):
		text = "its certificate is not accepted: " + badCert.Err.Error()
		if errors.As(err, new(x509.UnknownAuthorityError)) {
			text = "its certificate is from an authority that is not known here"
		}
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET):
		text = "it closes the connection; is it an MQTT broker, and does it want TLS?"
	default:
		return err
	}
	return plainError{text, err}
}

// trouble is what a session has said of a broker that it cannot reach.
type trouble struct {
	since time.Time // of the first attempt that failed; zero while all is well
	said  string
	at    time.Time
}

// due tells whether the reason is to be said now, and remembers that it was.
func (t *trouble) due(began, now time.Time, reason string, atOnce bool) bool {
	if t.since.IsZero() {
		t.since = began
	}
	if !atOnce && now.Sub(t.since) < quietFor || reason == t.said && now.Sub(t.at) < repeatAfter {
		return false
	}
	t.said, t.at = reason, now
	return true
}

// complain says that an attempt to connect failed. What lasts is said once, and
// again after a while.
func (s *Session) complain(began time.Time, err error) {
	var refused ErrRefused
	credentials := errors.As(err, &refused) && (refused.Credentials() || refused.Name())
	s.mu.Lock()
	s.lastErr = err
	if credentials && !s.isDenied {
		s.isDenied = true
		close(s.denied)
	}
	s.mu.Unlock()
	if !s.trouble.due(began, time.Now(), err.Error(), credentials) {
		s.log.Debug("cannot connect", "broker", s.target.String(), "error", err)
		return
	}
	switch {
	case credentials:
		s.log.Error(fmt.Sprintf("broker at %s: %s; trying again", s.target, err))
	case errors.As(err, &refused):
		s.log.Warn(fmt.Sprintf("broker at %s: %s; trying again", s.target, err))
	default:
		s.log.Warn(fmt.Sprintf("broker at %s not reachable: %s; trying again", s.target, err))
	}
}

// closed says in plain words why a broker ended the connection.
func closed(reason byte) error {
	text := "it closed the connection"
	switch reason {
	case 0x8b:
		text = "it is shutting down"
	case 0x8d:
		text = "it heard nothing from us"
	case 0x8e:
		text = "another client has come under our name"
	case 0x95:
		text = "a message was larger than it takes"
	}
	return fmt.Errorf("%s (reason 0x%02x)", text, reason)
}
