package broker

import (
	"net"
	"sync"

	"github.com/hashicorp/go-hclog"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/hubpipe/hubpipe/broker/protocol"
)

// hook is where the embedded broker asks us. Nothing in it may panic, and what
// it returns as an error is a bare packets.Code: the broker takes any other
// error for success, and a wrapped one ends the process.
type hook struct {
	mqtt.HookBase
	prefix       string
	maxPacket    uint32
	maxExpiry    uint32
	maxSessions  int
	maxKeepAlive uint16
	authenticate Authenticator
	server       *mqtt.Server
	log          hclog.Logger
	refused      *refusals

	mu     sync.Mutex // guards owners
	owners map[string]*owner
}

// owner is whose a client id's session is. It outlives the connection as long
// as the broker keeps the session.
type owner struct {
	who  Identity
	live int // connections that hold it; a takeover has two for a moment
}

var _ mqtt.Hook = (*hook)(nil)

// ID names the hook.
func (h *hook) ID() string { return "hubpipe" }

// Provides lists what the hook answers.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnClientExpired, mqtt.OnWill:
		return true
	default:
		return false
	}
}

// recovered logs a panic of a hook, which the broker itself would die of, and
// has the hook say what undo sets. It has to be what is deferred: from within
// another function recover stops nothing.
func (h *hook) recovered(name string, undo func()) {
	if r := recover(); r != nil {
		h.log.Error("a hook panicked", "hook", name, "panic", r)
		undo()
	}
}

// OnConnect decides who comes in, and says why not.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) (err error) {
	defer h.recovered("connect", func() { err = packets.ErrUnspecifiedError })
	conn, ok := cl.Net.Conn.(*guardConn)
	if !ok {
		return packets.ErrUnspecifiedError
	}
	if code := h.admit(cl, pk, conn); code != packets.CodeSuccess {
		h.refused.add(ofLogin(code))
		h.log.Info("refused a connection", "remote", cl.Net.Remote, "client", cl.ID, "reason", code.Reason)
		_ = h.server.SendConnack(cl, connackCode(code, pk.ProtocolVersion), false, nil)
		return code
	}
	// The broker's own deadline, one and a half times this, overflows above.
	if cl.State.Keepalive > h.maxKeepAlive {
		cl.State.Keepalive = h.maxKeepAlive
		cl.State.ServerKeepalive = true
	}
	// The broker would keep a will for as long as it asks, and for any number of
	// clients: it ends with its session, which is counted. A command does not wait
	// at all: whose it is could be nobody by then.
	will := &cl.Properties.Will
	will.WillDelayInterval = min(will.WillDelayInterval, pk.Properties.SessionExpiryInterval, h.maxExpiry)
	if topics := (protocol.Topics{Prefix: h.prefix}); will.TopicName == topics.Control() {
		will.WillDelayInterval = 0
	}
	return nil
}

// OnWill takes back the last will of a user whose credentials hold no longer: it
// is a publish, and may be a command. A worker's only says that it is gone.
func (h *hook) OnWill(cl *mqtt.Client, will mqtt.Will) (out mqtt.Will, err error) {
	defer h.recovered("will", func() { out = mqtt.Will{} })
	conn, ok := cl.Net.Conn.(*guardConn)
	if !ok || conn.identity().Role == RoleControl && !conn.allowed() {
		return mqtt.Will{}, nil // without a topic it reaches nobody
	}
	return will, nil
}

// connackCode is what a client is told; those of MQTT 3 know five codes.
func connackCode(code packets.Code, version byte) packets.Code {
	if version >= 5 {
		return code
	}
	switch code {
	case packets.ErrClientIdentifierNotValid:
		return packets.Err3ClientIdentifierNotValid
	case packets.ErrQuotaExceeded:
		return packets.Err3ServerUnavailable
	default:
		return packets.Err3NotAuthorized
	}
}

func (h *hook) admit(cl *mqtt.Client, pk packets.Packet, conn *guardConn) packets.Code {
	if pk.Properties.AuthenticationMethod != "" {
		return packets.ErrBadAuthenticationMethod
	}
	assigned := pk.Connect.ClientIdentifier == ""
	var grant Grant
	if conn.trusted {
		var ok bool
		if grant.Identity, ok = identityOfClient(h.prefix, cl.ID); !ok && !assigned {
			return packets.ErrClientIdentifierNotValid
		}
		if assigned {
			grant.Identity = Identity{Role: RoleControl}
		}
	} else {
		var ok bool
		grant, ok = h.authenticate(Login{Username: string(pk.Connect.Username), Password: string(pk.Connect.Password), Certificates: conn.certificates})
		who := grant.Identity
		if !ok || who.Role == RoleNone || who.Role == RoleDaemon {
			return packets.ErrBadUsernameOrPassword
		}
		if who.Role == RoleWorker && !validName(who.Name) {
			return packets.ErrBadUsernameOrPassword
		}
	}
	who := grant.Identity
	if !mayUseClient(who, h.prefix, cl.ID, assigned) {
		return packets.ErrClientIdentifierNotValid
	}
	if pk.Connect.WillFlag && !Allowed(who, h.prefix, pk.Connect.WillTopic, Publish) {
		return packets.ErrNotAuthorized
	}
	code := h.claim(cl.ID, grant, conn)
	if code == packets.CodeSuccess && !conn.allowed() { // revoked while it was looked at: Recheck did not know of it
		return packets.ErrBadUsernameOrPassword
	}
	return code
}

// claim makes a client id's session this identity's, unless it is another's.
func (h *hook) claim(id string, grant Grant, conn *guardConn) packets.Code {
	who := grant.Identity
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.owners[id]
	if ok && o.who != who {
		if o.live > 0 || h.kept(id) {
			return packets.ErrNotAuthorized
		}
		ok = false
	}
	if !ok {
		if len(h.owners) >= h.maxSessions {
			h.sweep()
		}
		// The daemon and its workers are few and always have a place.
		if len(h.owners) >= h.maxSessions && who.Role != RoleDaemon && who.Role != RoleWorker {
			return packets.ErrQuotaExceeded
		}
		o = &owner{who: who}
		h.owners[id] = o
	}
	o.live++
	conn.setIdentity(grant, id)
	return packets.CodeSuccess
}

func (h *hook) kept(id string) bool {
	_, ok := h.server.Clients.Get(id)
	return ok
}

// sweep forgets the owners of sessions that are gone; h.mu is held.
func (h *hook) sweep() {
	for id, o := range h.owners {
		if o.live == 0 && !h.kept(id) {
			delete(h.owners, id)
		}
	}
}

// released is called once for each connection that has ended.
func (h *hook) released(c *guardConn) {
	id := c.claimed()
	if id == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.owners[id]
	if !ok {
		return
	}
	o.live--
	if o.live == 0 && !h.kept(id) {
		delete(h.owners, id)
	}
}

// cutOff ends a connection whose credentials hold no longer.
func (h *hook) cutOff(c *guardConn) { h.disconnect(c, packets.ErrNotAuthorized) }

// goodbye ends a connection because the broker stops.
func (h *hook) goodbye(c *guardConn) { h.disconnect(c, packets.ErrServerShuttingDown) }

// disconnect ends a connection, and says why where the client understands it.
func (h *hook) disconnect(c *guardConn, code packets.Code) {
	if cl, ok := h.server.Clients.Get(c.claimed()); ok && cl.Net.Conn == net.Conn(c) {
		_ = h.server.DisconnectClient(cl, code) // the error is the reason itself
	}
	_ = c.Close()
}

// OnConnectAuthenticate is true for whom OnConnect let in.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	conn, ok := cl.Net.Conn.(*guardConn)
	return ok && conn.identity().Role != RoleNone
}

// OnACLCheck is asked for each publish, each filter and each delivery.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) (ok bool) {
	defer h.recovered("access", func() { ok = false })
	conn, is := cl.Net.Conn.(*guardConn)
	if !is {
		return false
	}
	action := Subscribe
	if write {
		action = Publish
	}
	ok = Allowed(conn.identity(), h.prefix, topic, action)
	if !ok && write {
		h.refused.add(RefusedPublish)
	}
	return ok
}

// OnPacketRead keeps a DISCONNECT from making a session last longer than the
// broker allows; the broker holds only CONNECT to that.
func (h *hook) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Disconnect && pk.Properties.SessionExpiryInterval > h.maxExpiry {
		pk.Properties.SessionExpiryInterval = h.maxExpiry
	}
	return pk, nil
}

// OnPacketEncode tells clients the limits that the broker leaves out.
func (h *hook) OnPacketEncode(_ *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == packets.CodeSuccess.Code {
		pk.Properties.MaximumPacketSize = h.maxPacket
		pk.Properties.SharedSubAvailable = 0
		pk.Properties.SharedSubAvailableFlag = true
	}
	return pk
}

// OnClientExpired takes an expired session's subscriptions away; the broker
// would go on parking messages for it.
func (h *hook) OnClientExpired(cl *mqtt.Client) {
	defer h.recovered("expired", func() {})
	h.server.UnsubscribeClient(cl)
	h.mu.Lock()
	defer h.mu.Unlock()
	if o, ok := h.owners[cl.ID]; ok && o.live == 0 {
		delete(h.owners, cl.ID)
	}
}
