package broker

import (
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"sync"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Why the guard or the access rules turn something away, as Stats has it.
const (
	RefusedTimeout   = "login_timeout" // no CONNECT in time
	RefusedEvicted   = "evicted"       // others waited to log in
	RefusedFull      = "too_many_connections"
	RefusedSize      = "packet_too_large"
	RefusedFirst     = "not_a_connect" // the first packet, or a second CONNECT
	RefusedType      = "packet_type"
	RefusedTopic     = "topic"
	RefusedMalformed = "malformed" // it cannot be decoded, or says what MQTT forbids
	RefusedPassword  = "credentials"
	RefusedClient    = "client_id" // another's, or none that may be used
	RefusedQuota     = "too_many_sessions"
	RefusedLogin     = "login"   // any other reason for which a CONNECT is refused
	RefusedPublish   = "publish" // to a topic where the client may not
)

// Reasons lists them all.
func Reasons() []string {
	return []string{RefusedTimeout, RefusedEvicted, RefusedFull, RefusedSize, RefusedFirst, RefusedType, RefusedTopic,
		RefusedMalformed, RefusedPassword, RefusedClient, RefusedQuota, RefusedLogin, RefusedPublish}
}

// Stats is how the embedded broker stands, and what it has turned away since it
// began.
type Stats struct {
	Connections, Pending, Sessions int
	Refused                        map[string]uint64
}

// Stats may be asked for at any time.
func (e *Embedded) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hook == nil {
		return Stats{}
	}
	s := Stats{Refused: e.hook.refused.all()}
	for _, l := range e.listeners {
		pending, open := l.gate.counts()
		s.Pending, s.Connections = s.Pending+pending, s.Connections+open
	}
	e.hook.mu.Lock()
	defer e.hook.mu.Unlock()
	e.hook.sweep() // the broker lets go of a session after its connection
	s.Sessions = len(e.hook.owners)
	return s
}

// refusals counts what was turned away, by reason.
type refusals struct {
	mu sync.Mutex // guards n
	n  map[string]uint64
}

// add counts one; "" is none.
func (r *refusals) add(reason string) {
	if r == nil || reason == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[string]uint64{}
	}
	r.n[reason]++
}

func (r *refusals) all() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.n)
}

// ofFrame is why a packet was refused; "" where its connection has just ended.
func ofFrame(err error, login bool) string {
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return ""
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if login {
			return RefusedTimeout
		}
		return "" // its keep-alive
	case errors.As(err, &timeout), errors.Is(err, io.ErrUnexpectedEOF):
		return "" // the network's end
	case errors.Is(err, errFrameTooLarge), errors.Is(err, errTooMany):
		return RefusedSize
	case errors.Is(err, errNotConnect), errors.Is(err, errConnectTwice):
		return RefusedFirst
	case errors.Is(err, errFrameType):
		return RefusedType
	case errors.Is(err, errTopic), errors.Is(err, errAlias):
		return RefusedTopic
	}
	return RefusedMalformed
}

// ofLogin is why a CONNECT was refused.
func ofLogin(code packets.Code) string {
	switch code {
	case packets.ErrBadUsernameOrPassword:
		return RefusedPassword
	case packets.ErrClientIdentifierNotValid:
		return RefusedClient
	case packets.ErrQuotaExceeded:
		return RefusedQuota
	}
	return RefusedLogin
}
