package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// recheckEvery is how soon who is connected learns that a token was revoked.
const recheckEvery = time.Second

func (d *Daemon) openAccess(_, _ context.Context) error {
	var err error
	if d.token, err = LoadToken(d.o.Config.DataDir, true); err != nil {
		return err
	}
	d.keys, err = access.Open(d.o.Config.DataDir, d.token, users(d.o.Config))
	return err
}

func users(c *config.Config) []access.User {
	out := make([]access.User, 0, len(c.Users))
	for _, u := range c.Users {
		out = append(out, access.User{Name: u.Name, Role: access.Role(u.Role), PasswordHash: u.PasswordHash.Reveal()})
	}
	return out
}

// watchAccess cuts off, until the daemon stops, who was let in by what holds no
// longer.
func (d *Daemon) watchAccess(_, own context.Context) error {
	ctx, stop := context.WithCancel(own)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.recheck()
			case <-ctx.Done():
				return
			}
		}
	})
	d.onClose("watch tokens", func(context.Context) error { stop(); wg.Wait(); return nil })
	return nil
}

func (d *Daemon) recheck() {
	changed, err := d.keys.Changed()
	if !changed {
		return
	}
	if err != nil {
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
	if c.Bearer != "" {
		g, ok = d.keys.Bearer(c.Bearer)
	} else {
		g, ok = d.keys.Login(c.Username, c.Password)
	}
	roles := map[access.Role]api.Role{access.RoleReader: api.RoleReader, access.RoleControl: api.RoleControl}
	return api.Caller{Role: roles[g.Role], Name: g.Name, Valid: g.Valid}, ok
}
