package broker

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Role is what an identity may be.
type Role string

// The roles.
const (
	Daemon  Role = "daemon"
	Worker  Role = "worker"
	Control Role = "control"
)

// Identity is who a connection belongs to.
type Identity struct {
	Role Role
	Name string // of a worker
}

// Action is what an identity wants to do with a topic.
type Action int

// The actions. A filter is subscribed to, a topic read on delivery.
const (
	Publish Action = iota
	Subscribe
	Read
)

// TokenAuthenticator knows the user hubpipe, who may control, and the users
// hubpipe-worker-NAME, each with the daemon's token as password.
func TokenAuthenticator(token func() string, prefix string) func(username, password string) (Identity, bool) {
	return func(username, password string) (Identity, bool) {
		want, got := sha256.Sum256([]byte(token())), sha256.Sum256([]byte(password))
		if token() == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			return Identity{}, false
		}
		if username == prefix {
			return Identity{Role: Control}, true
		}
		if name, ok := strings.CutPrefix(username, prefix+"-worker-"); ok && name != "" {
			return Identity{Role: Worker, Name: name}, true
		}
		return Identity{}, false
	}
}

// identityOf is whom a client id stands for on the unix socket, which only its
// owner can reach.
func identityOf(prefix, clientID string) Identity {
	if clientID == prefix+"-daemon" || clientID == prefix+"-daemon-control" {
		return Identity{Role: Daemon}
	}
	if name, ok := strings.CutPrefix(clientID, prefix+"-worker-"); ok && name != "" {
		return Identity{Role: Worker, Name: name}
	}
	return Identity{Role: Control}
}

// mayUse tells whether a client id belongs to an identity. Those that begin
// with the prefix belong to the daemon and to the worker of that name.
func mayUse(id Identity, prefix, clientID string) bool {
	if !strings.HasPrefix(clientID, prefix) {
		return id.Role == Control
	}
	return identityOf(prefix, clientID) == id
}

// Allowed is the whole of the access rules; what it does not name is denied.
func Allowed(id Identity, prefix, topic string, action Action) bool {
	if strings.HasPrefix(strings.ToLower(topic), "$share") {
		return false
	}
	inside := topic == prefix || strings.HasPrefix(topic, prefix+"/")
	rest := strings.TrimPrefix(topic, prefix+"/")
	switch id.Role {
	case Daemon:
		return inside || action == Publish && !strings.HasPrefix(topic, "$")
	case Worker:
		own := "workers/" + id.Name
		if !inside {
			return false
		}
		if action == Publish {
			return rest == own || rest == own+"/pages" || rest == own+"/heartbeat"
		}
		return rest == "status" || rest == own || rest == own+"/commands" || rest == own+"/answers"
	case Control:
		if !inside {
			return outside(topic, prefix, action)
		}
		if action == Publish {
			return rest == "control"
		}
		return readable(rest)
	}
	return false
}

// outside is what a control user may do beyond the prefix: topics for its own
// answers. A wildcard there must not reach into the prefix.
func outside(topic, prefix string, action Action) bool {
	if strings.HasPrefix(topic, "$") {
		return false
	}
	first, _, _ := strings.Cut(topic, "/")
	root, _, _ := strings.Cut(prefix, "/")
	return action != Subscribe || first != "#" && first != "+" && first != root
}

func readable(rest string) bool {
	if rest == "status" || rest == "control/response" || strings.HasPrefix(rest, "control/response/") {
		return true
	}
	kind, name, ok := strings.Cut(rest, "/")
	return ok && (kind == "streams" || kind == "workers" || kind == "changes") && !strings.Contains(name, "/") && name != "#"
}

// rules is mochi's hook for all of the above. It returns bare codes only, and
// recovers: an error of ours must not end the broker.
type rules struct {
	mqtt.HookBase
	o EmbeddedOptions
}

func (*rules) ID() string { return "hubpipe-rules" }

func (*rules) Provides(b byte) bool {
	return bytes.Contains([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnWill}, []byte{b})
}

// OnConnectAuthenticate lets in who has the token, under a client id of its
// own; the unix socket asks for none.
func (r *rules) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	if cl.Net.Listener == "unix" {
		return true
	}
	id, ok := r.o.Authenticate(string(pk.Connect.Username), string(pk.Connect.Password))
	return ok && (pk.Connect.ClientIdentifier == "" && id.Role == Control || mayUse(id, r.o.Prefix, pk.Connect.ClientIdentifier))
}

func (r *rules) identity(cl *mqtt.Client) Identity {
	if cl.Net.Listener == "unix" {
		return identityOf(r.o.Prefix, cl.ID)
	}
	if name, ok := strings.CutPrefix(string(cl.Properties.Username), r.o.Prefix+"-worker-"); ok {
		return Identity{Role: Worker, Name: name}
	}
	return Identity{Role: Control}
}

// OnACLCheck is asked on publish, on subscribe and on delivery; filters have
// wildcards, topics have none.
func (r *rules) OnACLCheck(cl *mqtt.Client, topic string, write bool) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	action := Read
	switch {
	case write:
		action = Publish
	case strings.ContainsAny(topic, "+#"):
		action = Subscribe
	}
	return Allowed(r.identity(cl), r.o.Prefix, topic, action)
}

// OnWill holds last wills to the same rules; mochi does not.
func (r *rules) OnWill(cl *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	if !r.OnACLCheck(cl, will.TopicName, true) {
		return mqtt.Will{}, nil
	}
	return will, nil
}
