package daemon

import (
	"testing"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/access"
)

// Who is who on the bus: a worker is the one that its token names, and only the
// owner's token is any worker's.
func TestBusLogin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const owner = "0123456789abcdef0123456789abcdef"
	keys, err := access.Open(dir, owner, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{keys: keys, topics: protocol.Topics{Prefix: "acme"}}
	made := map[string]string{}
	for name, role := range map[string]access.Role{"w1": access.RoleWorker, "ops": access.RoleControl, "ann": access.RoleReader} {
		if made[name], err = access.Create(dir, name, role, false); err != nil {
			t.Fatal(err)
		}
	}
	worker := func(name string) broker.Identity { return broker.Identity{Role: broker.RoleWorker, Name: name} }
	for _, c := range []struct {
		user, password string
		want           broker.Identity
	}{
		{"hubpipe", owner, broker.Identity{Role: broker.RoleControl}},
		{"acme-worker-w7", owner, worker("w7")},
		{"hubpipe-worker-w7", owner, worker("w7")},
		{"w1", made["w1"], worker("w1")},
		{"acme-worker-w1", made["w1"], worker("w1")},
		{"acme-worker-w2", made["w1"], broker.Identity{}},
		{"w2", made["w1"], broker.Identity{}},
		{"hubpipe", made["w1"], broker.Identity{}},
		{"acme-worker-ops", made["ops"], broker.Identity{}},
		{"ops", made["ops"], broker.Identity{Role: broker.RoleControl, Name: "ops"}},
		{"ann", made["ann"], broker.Identity{Role: broker.RoleReader, Name: "ann"}},
		{"hubpipe-daemon", owner, broker.Identity{}},
		{"acme-worker-", owner, broker.Identity{}},
		{"acme-worker-a/b", owner, broker.Identity{}},
		{"acme-worker-+", owner, broker.Identity{}},
		{"hubpipe", "", broker.Identity{}},
		{"", owner, broker.Identity{}},
		{"root", owner, broker.Identity{}},
	} {
		g, ok := d.busLogin(broker.Login{Username: c.user, Password: c.password})
		if ok != (c.want != broker.Identity{}) || ok && g.Identity != c.want {
			t.Errorf("%s with %.9s…: %+v %t", c.user, c.password, g.Identity, ok)
		}
	}
}
