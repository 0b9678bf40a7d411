// Package access knows who may come in: the token that is made at first start,
// those of `hubpipe token create`, and the users of the configuration. It keeps
// no secret but the first token, only what a secret can be held against.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"time"
)

// Role says what somebody may do.
type Role string

// The roles. Whoever has the token of the data folder has RoleControl.
const (
	RoleReader  Role = "reader"  // reads everything, changes nothing
	RoleControl Role = "control" // a reader that also gives commands
	RoleWorker  Role = "worker"  // a worker on the bus, and nothing on HTTP
)

// Roles are all roles.
func Roles() []Role { return []Role{RoleWorker, RoleControl, RoleReader} }

// Owner is the user name that goes with the token of the data folder.
const Owner = "hubpipe"

// Identity is who somebody is. The name of the token's owner is empty.
type Identity struct {
	Role Role
	Name string
}

// Grant is an identity that was proved, for as long as Valid says so: until the
// token is revoked, the user is taken out of the configuration or has another
// role there.
type Grant struct {
	Identity
	Valid func() bool
}

// User is one of the configuration: who shows a password, a certificate, or
// either of them.
type User struct {
	Name string
	Role Role
	// PasswordHash is bcrypt's; empty where no password lets in.
	PasswordHash string
	// Certificate is the common name of the client certificate, empty for none.
	Certificate string
}

// Keys decides who comes in. It may be used by several goroutines.
type Keys struct {
	dir  string
	slow chan struct{} // held while a password is compared

	mu     sync.Mutex // guards what follows
	owner  [sha256.Size]byte
	users  map[string]User
	proved map[string]proof // the last password of each user that was right
	tokens map[[sha256.Size]byte]Token
	stamp  stamp
	broken error // why the tokens cannot be read; nobody has one then
	heard  stamp // what Changed told of last
	moved  bool  // users were changed since then
}

// proof is that a password was right for a hash, so that the next time costs
// nothing.
type proof struct {
	hash   string
	digest [sha256.Size]byte
}

// Open reads the tokens of a data folder. The owner's token must not be empty.
func Open(dir, owner string, users []User) (*Keys, error) {
	k := &Keys{dir: dir, owner: sha256.Sum256([]byte(owner)), slow: make(chan struct{}, 1), proved: map[string]proof{}}
	k.SetUsers(users)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.moved = false
	k.refresh()
	k.heard = k.stamp
	return k, k.broken
}

// SetUsers replaces the users of the configuration.
func (k *Keys) SetUsers(users []User) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users, k.moved = map[string]User{}, true
	for _, u := range users {
		k.users[u.Name] = u
	}
}

// Changed tells whether tokens or users have changed since it was asked last:
// then some grants may hold no longer. The error is why the tokens cannot be
// read.
func (k *Keys) Changed() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	changed := k.moved || k.heard != k.stamp
	k.moved, k.heard = false, k.stamp
	return changed, k.broken
}

// Bearer is whose a token is.
func (k *Keys) Bearer(secret string) (Grant, bool) {
	if secret == "" {
		return Grant{}, false
	}
	digest := sha256.Sum256([]byte(secret))
	k.mu.Lock()
	defer k.mu.Unlock()
	if subtle.ConstantTimeCompare(digest[:], k.owner[:]) == 1 {
		return Grant{Identity{Role: RoleControl}, func() bool { return true }}, true
	}
	k.refresh()
	// The digest of what was sent is looked up: who does not have the token
	// cannot steer towards one, whatever the time of a look-up tells.
	t, ok := k.tokens[digest]
	if !ok {
		return Grant{}, false
	}
	return Grant{Identity{t.Role, t.Name}, func() bool { return k.holds(digest, t) }}, true
}

func (k *Keys) holds(digest [sha256.Size]byte, t Token) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	now, ok := k.tokens[digest]
	return ok && now.Name == t.Name && now.Role == t.Role
}

// Login is who has this name and this password: the name of a token with the
// token, a user of the configuration, or Owner with the first token.
func (k *Keys) Login(name, password string) (Grant, bool) {
	if g, ok := k.Bearer(password); ok {
		own := g.Name
		if own == "" {
			own = Owner
		}
		return g, own == name
	}
	k.mu.Lock()
	u := k.users[name]
	k.mu.Unlock()
	if u.PasswordHash == "" || !k.proves(u, password) {
		return Grant{}, false
	}
	return Grant{Identity{u.Role, u.Name}, func() bool {
		now := k.user(u.Name)
		return now.Role == u.Role && now.PasswordHash == u.PasswordHash
	}}, true
}

func (k *Keys) user(name string) User {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.users[name]
}

// Certificate is whose a client certificate is. TLS has verified it.
func (k *Keys) Certificate(leaf *x509.Certificate) (Grant, bool) {
	name := leaf.Subject.CommonName
	k.mu.Lock()
	defer k.mu.Unlock()
	if name == "" {
		return Grant{}, false
	}
	for _, u := range k.users {
		if u.Certificate == name {
			return Grant{Identity{u.Role, u.Name}, func() bool {
				now := k.user(u.Name)
				return now.Role == u.Role && now.Certificate == name && time.Now().Before(leaf.NotAfter)
			}}, true
		}
	}
	return Grant{}, false
}

// ValidName tells whether a token or a user may be called so; the owner's name,
// and those that workers have on the bus, are taken.
func ValidName(name string) bool {
	return len(name) >= 1 && len(name) <= 64 && name != Owner && !strings.HasPrefix(name, Owner+"-") &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// ValidRole tells whether there is such a role.
func ValidRole(role Role) bool { return slices.Contains(Roles(), role) }
