package daemon

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/config"
)

func TestAskBroker(t *testing.T) {
	t.Parallel()
	b, err := broker.NewEmbedded(broker.EmbeddedOptions{Listen: "127.0.0.1:0", Prefix: "hubpipe", MaxPacket: 20_000,
		Authenticate: func(l broker.Login) (broker.Grant, bool) {
			return broker.Grant{Identity: broker.Identity{Role: broker.RoleControl}}, l.Password == "right"
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	var lc net.ListenConfig
	nobody, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	for name, c := range map[string]struct {
		broker      config.Broker
		lacks, says string
	}{
		"our own":               {config.Broker{Listen: b.Addr(), Prefix: "other"}, "", ""},
		"one with small limits": {config.Broker{URL: "mqtt://" + b.Addr(), Username: "u", Password: config.NewSecret("right"), Prefix: "other"}, "packets of 20000 bytes", ""},
		"a daemon's":            {config.Broker{URL: "mqtt://" + b.Addr(), Username: "u", Password: config.NewSecret("right"), Prefix: "hubpipe"}, "", ""},
		"a wrong password":      {config.Broker{URL: "mqtt://" + b.Addr(), Username: "u", Password: config.NewSecret("wrong"), Prefix: "other"}, "", "broker { username, password }"},
		"nobody there":          {config.Broker{URL: "mqtt://" + nobody.Addr().String(), Prefix: "other"}, "", "connection refused"},
		"certificates gone":     {config.Broker{URL: "mqtts://" + b.Addr(), Prefix: "other", TLS: &config.TLS{CA: "no.crt"}}, "", "no.crt"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lacks, err := AskBroker(t.Context(), c.broker)
			if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v, want %q", err, c.says)
			}
			if all := strings.Join(lacks, "; "); (all == "") != (c.lacks == "") || !strings.Contains(all, c.lacks) {
				t.Errorf("it lacks %q, want %q", all, c.lacks)
			}
		})
	}
}
