package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// askPatience is how long a broker may take to answer a check.
const askPatience = 3 * time.Second

// AskBroker says what a broker of others lacks of what makes hubpipe quick and
// quiet, and leaves nothing there; nothing where the daemon has a broker of its
// own. Its error is the reason why it could not be asked.
func AskBroker(ctx context.Context, c config.Broker) ([]string, error) {
	if c.URL == "" {
		return nil, nil
	}
	name, err := newProcess()
	if err != nil {
		return nil, err
	}
	said := make(chan broker.ConnInfo, 1)
	o := broker.SessionOptions{URL: c.URL, Username: c.Username, Password: c.Password.Reveal(), ClientID: c.Prefix + "-look-" + name,
		CleanStart: true, Expiry: time.Second, OnUp: func(info broker.ConnInfo) {
			select {
			case said <- info:
			default: // it has said so before
			}
		}}
	if t := ofConnection(c); t != nil {
		if o.TLS, err = access.ClientTLS(t.CA, t.Certificate, t.Key); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	s, err := broker.NewSession(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = s.Stop(ctx) }() // it has said what it had to
	var refused broker.ErrRefused
	switch err := s.AwaitUp(ctx); {
	case errors.As(err, &refused) && refused.Name():
		return nil, nil // hubpipe's own, by a worker's credentials
	case err != nil:
		return nil, err
	}
	select {
	case info := <-said:
		return lacks(info), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
