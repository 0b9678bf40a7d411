package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// recheckEvery is how soon who is connected learns that a token was revoked;
// every so many times all are looked at, since certificates end by themselves.
const (
	recheckEvery = time.Second
	recheckAll   = 60
)

func (d *Daemon) openAccess(_, _ context.Context) error {
	var err error
	if d.token, err = LoadToken(d.o.Config.DataDir, true); err != nil {
		return err
	}
	c := d.o.Config
	if d.httpTLS, err = loadTLS("http", c.HTTP.TLS); err != nil {
		return err
	}
	if d.busTLS, err = loadTLS("broker", ofListener(c.Broker)); err != nil {
		return err
	}
	if t := ofConnection(c.Broker); t != nil {
		if d.brokerTLS, err = access.ClientTLS(t.CA, t.Certificate, t.Key); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	d.keys, err = access.Open(c.DataDir, d.token, users(c))
	return err
}

func loadTLS(what string, c *config.TLS) (*access.TLS, error) {
	if c == nil {
		return nil, nil
	}
	t, err := access.LoadTLS(c.Certificate, c.Key, c.CA)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return t, nil
}

// certificates are those of a configuration that the listeners would take over,
// nil where they take none: whether there is TLS at all is a listener's, which
// is opened once.
type certificates struct{ http, broker *access.TLS }

// certificatesOf reads them. Nothing takes effect by it.
func (d *Daemon) certificatesOf(c *config.Config) (out certificates, err error) {
	if d.httpTLS != nil {
		out.http, err = loadTLS("http", c.HTTP.TLS)
	}
	if d.busTLS != nil && err == nil {
		out.broker, err = loadTLS("broker", ofListener(c.Broker))
	}
	if err != nil {
		return certificates{}, &stream.Problem{Type: client.TypeBadConfiguration, Title: "a certificate cannot be read; all stays as it was", Status: 409,
			Detail: err.Error(), Hint: "see `hubpipe check`"}
	}
	return out, nil
}

// setAccess takes over users and certificates.
func (d *Daemon) setAccess(c *config.Config, read certificates) {
	if read.http != nil {
		d.httpTLS.TakeOver(read.http)
	}
	if read.broker != nil {
		d.busTLS.TakeOver(read.broker)
	}
	d.keys.SetUsers(users(c))
}

// renewed says which files hold something else than what the listeners show.
func (d *Daemon) renewed(read certificates) []string {
	var out []string
	if read.http != nil && !d.httpTLS.Same(read.http) {
		out = append(out, "http.tls: the certificate or its authority is another")
	}
	if read.broker != nil && !d.busTLS.Same(read.broker) {
		out = append(out, "broker.tls: the certificate or its authority is another")
	}
	return out
}

// ofListener is the TLS of hubpipe's own broker, nil where there is none.
func ofListener(b config.Broker) *config.TLS {
	if b.URL != "" {
		return nil
	}
	return b.TLS
}

// ofConnection is the TLS of the connection to a broker of others, nil for none.
func ofConnection(b config.Broker) *config.TLS {
	if b.URL == "" {
		return nil
	}
	return b.TLS
}

// byCertificate is whose certificate was shown, for as long as the listener
// takes it.
func (d *Daemon) byCertificate(t *access.TLS, chain []*x509.Certificate) (access.Grant, bool) {
	if t == nil || !t.Trusts(chain) {
		return access.Grant{}, false
	}
	g, ok := d.keys.Certificate(chain[0])
	valid := g.Valid
	g.Valid = func() bool { return valid() && t.Trusts(chain) }
	return g, ok
}

// listenTLS is what a listener needs of its TLS, nil for none.
func listenTLS(t *access.TLS) *tls.Config {
	if t == nil {
		return nil
	}
	return t.Config()
}

func users(c *config.Config) []access.User {
	out := make([]access.User, 0, len(c.Users))
	for _, u := range c.Users {
		out = append(out, access.User{Name: u.Name, Role: access.Role(u.Role), PasswordHash: u.PasswordHash.Reveal(), Certificate: u.Certificate})
	}
	return out
}

// watchAccess cuts off, until the daemon stops, who was let in by what holds no
// longer.
func (d *Daemon) watchAccess(_, own context.Context) error {
	d.background(own, "watch tokens", func(ctx context.Context) {
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-tick.C:
				d.recheck(n%recheckAll == 0)
			case <-ctx.Done():
				return
			}
		}
	})
	return nil
}

func (d *Daemon) recheck(all bool) {
	changed, err := d.keys.Changed()
	if !changed && !all {
		return
	}
	if changed && err != nil {
		d.log.Error("nobody comes in with a token of `hubpipe token create`", "error", err)
	}
	d.server.Recheck()
	if d.embedded != nil {
		d.embedded.Recheck()
	}
}

// busLogin is who somebody is on the bus. The daemon's own token is control's,
// and any worker's: whoever has it is on this machine, or was given everything.
func (d *Daemon) busLogin(l broker.Login) (broker.Grant, bool) {
	if l.Username == "" && l.Password == "" {
		g, ok := d.byCertificate(d.busTLS, l.Certificates)
		return busGrant(g), ok
	}
	name, isWorker := broker.WorkerOfUser(d.topics.Prefix, l.Username)
	if !isWorker {
		g, ok := d.keys.Login(l.Username, l.Password)
		return busGrant(g), ok
	}
	if g, ok := d.keys.Login(access.Owner, l.Password); ok {
		return broker.Grant{Identity: broker.Identity{Role: broker.RoleWorker, Name: name}, Valid: g.Valid}, true
	}
	g, ok := d.keys.Login(name, l.Password)
	return busGrant(g), ok && g.Role == access.RoleWorker
}

func busGrant(g access.Grant) broker.Grant {
	roles := map[access.Role]broker.Role{access.RoleWorker: broker.RoleWorker, access.RoleControl: broker.RoleControl, access.RoleReader: broker.RoleReader}
	return broker.Grant{Identity: broker.Identity{Role: roles[g.Role], Name: g.Name}, Valid: g.Valid}
}

// httpLogin is who somebody is over HTTP.
func (d *Daemon) httpLogin(c api.Credentials) (api.Caller, bool) {
	var g access.Grant
	var ok bool
	switch {
	case c.Bearer != "":
		g, ok = d.keys.Bearer(c.Bearer)
	case len(c.Certificates) > 0:
		g, ok = d.byCertificate(d.httpTLS, c.Certificates)
	default:
		g, ok = d.keys.Login(c.Username, c.Password)
	}
	roles := map[access.Role]api.Role{access.RoleReader: api.RoleReader, access.RoleControl: api.RoleControl}
	return api.Caller{Role: roles[g.Role], Valid: g.Valid}, ok
}
