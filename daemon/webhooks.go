package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/webhook"
)

// Receive takes a request of HubSpot's webhooks for a portal. It returns when
// the records that its events name are noted in the ledger, with an error of
// the package webhook where it is not HubSpot's.
func (d *Daemon) Receive(ctx context.Context, portal string, s webhook.Signed) error {
	secret, account, known := "", int64(0), false
	err := d.ask(ctx, func(x *dispatch.Dispatcher, _ time.Time) error {
		p, ok := d.running.PortalByName(portal)
		if known = ok && p.Webhook != nil; known {
			secret, account = p.Webhook.ClientSecret.Reveal(), x.Account(portal)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !known:
		return &client.Problem{Type: client.TypeUnknownPortal, Title: "no webhooks are expected for that portal", Status: http.StatusNotFound,
			Detail: fmt.Sprintf("there is no portal %.64q with a webhook block", portal),
			Hint:   `write webhook { client_secret = env("…") } into the portal's block and reload`}
	}
	if err := s.Verify(secret, time.Now()); err != nil {
		return err
	}
	if account == 0 {
		return &client.Problem{Type: client.TypeNotReady, Title: "nothing was read of the portal yet", Status: http.StatusServiceUnavailable,
			Detail: "whose account it is shows with the first run", Hint: "HubSpot sends it again"}
	}
	hints, err := webhook.Parse(s.Body, account)
	if other := (*webhook.OtherPortalError)(nil); errors.As(err, &other) {
		return &client.Problem{Type: client.TypeOtherPortal, Title: "that is another account's", Status: http.StatusForbidden, Detail: err.Error(),
			Hint: "give each account's app the address with the name of its own portal"}
	}
	if err != nil {
		return &client.Problem{Type: client.TypeBadBody, Title: "the body is wrong", Status: http.StatusBadRequest, Detail: err.Error(),
			Hint: "send the events as HubSpot does"}
	}
	list := make([]dispatch.Hint, len(hints))
	for i, h := range hints {
		list[i] = dispatch.Hint(h)
	}
	taken := 0
	err = d.loop.Do(ctx, func(x *dispatch.Dispatcher, now time.Time) (outs []dispatch.Out, err error) {
		taken, outs, err = x.Hint(now, portal, list)
		return outs, err
	})
	if err == nil {
		d.log.Debug("webhook", "portal", portal, "named", len(hints), "read", taken)
	}
	return err
}
