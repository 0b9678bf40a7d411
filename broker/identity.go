package broker

import (
	"crypto/x509"
	"fmt"
	"io"
	"strings"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// Role says what somebody on the bus may do; the zero value may do nothing.
type Role uint8

// The roles, from the one that may do nothing to the one that may do most.
const (
	RoleNone    Role = iota
	RoleReader       // reads status, streams, workers and changes
	RoleControl      // a reader that may also send commands and read their answers
	RoleWorker       // its own topics and the daemon's status
	RoleDaemon       // everything below the prefix, and answers outside it
)

// String names the role in lower case.
func (r Role) String() string {
	switch r {
	case RoleReader:
		return "reader"
	case RoleControl:
		return "control"
	case RoleWorker:
		return "worker"
	case RoleDaemon:
		return "daemon"
	default:
		return "none"
	}
}

// Identity is who a connection belongs to. Sessions belong to identities: one
// is never given to a connection of another identity.
type Identity struct {
	Role Role
	Name string // of the worker; of other roles a user's name, empty for the token's owner
}

// Login is what a connection over TCP shows of itself.
type Login struct {
	Username, Password string
	// Certificates are the client's that TLS has verified, its own first; nil
	// where it showed none.
	Certificates []*x509.Certificate
}

// Format writes "[secret]", however a login is printed.
func (Login) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// Grant is who a login is, for as long as Valid says so. A nil Valid holds for
// ever.
type Grant struct {
	Identity
	Valid func() bool
}

// Authenticator says who a login is; false lets it not in. It is asked from
// several goroutines.
type Authenticator func(Login) (Grant, bool)

// WorkerOfUser is the worker that a user name is of: "<prefix>-worker-<name>",
// which is its client id too, or "hubpipe-worker-<name>".
func WorkerOfUser(prefix, username string) (name string, ok bool) {
	for _, stem := range []string{prefix, "hubpipe"} {
		if name, ok := strings.CutPrefix(username, stem+"-worker-"); ok && validName(name) {
			return name, true
		}
	}
	return "", false
}

// identityOfClient is who a client id belongs to; ids outside the prefix are a
// control user's. It is false for ids that begin with the prefix and are
// nobody's.
func identityOfClient(prefix, id string) (Identity, bool) {
	topics := protocol.Topics{Prefix: prefix}
	if id == topics.DaemonClient() || id == topics.DaemonControlClient() {
		return Identity{Role: RoleDaemon}, true
	}
	if name, ok := strings.CutPrefix(id, topics.WorkerClient("")); ok && validName(name) {
		return Identity{Role: RoleWorker, Name: name}, true
	}
	if strings.HasPrefix(id, prefix) {
		return Identity{}, false
	}
	return Identity{Role: RoleControl}, true
}

// mayUseClient says whether an identity that logged in may use a client id.
// One that the broker made up itself is anybody's but a worker's or the
// daemon's, whose ids are fixed.
func mayUseClient(who Identity, prefix, id string, assigned bool) bool {
	switch who.Role {
	case RoleDaemon, RoleWorker:
		owner, ok := identityOfClient(prefix, id)
		return ok && !assigned && owner == who
	case RoleControl, RoleReader:
		return assigned || !strings.HasPrefix(id, prefix)
	default:
		return false
	}
}

// validName says whether a worker's name is one that fits a topic and a client
// id: [a-z0-9_-]{1,64}.
func validName(name string) bool {
	if name == "" || len(name) > 64 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
