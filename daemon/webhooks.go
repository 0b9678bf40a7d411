package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
	var definitions []string // the streams that say what the portal's own objects are called
	err := d.ask(ctx, func(x *dispatch.Dispatcher, _ time.Time) error {
		p, ok := d.running.PortalByName(portal)
		if known = ok && p.Webhook != nil; known {
			secret, account = p.Webhook.ClientSecret.Reveal(), x.Account(portal)
		}
		for i := range d.running.Streams {
			if s := &d.running.Streams[i]; s.Portal == portal && s.Object == schemasObject {
				definitions = append(definitions, s.Name)
			}
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
	list := d.byName(hints, definitions)
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

// schemasObject is that of which the records say what a portal's own objects are
// called, under HubSpot's numbers of them.
const schemasObject = "schemas"

// byName are hints for the dispatcher. HubSpot names an object that a portal has
// defined by its number, and a stream most often by its name: where definitions
// are copied, too, each such hint is there under its names as well.
func (d *Daemon) byName(hints []webhook.Hint, definitions []string) []dispatch.Hint {
	out := make([]dispatch.Hint, 0, len(hints))
	names := map[string][]string{}
	for _, h := range hints {
		out = append(out, dispatch.Hint(h))
		if !strings.HasPrefix(h.Object, "2-") {
			continue // one of HubSpot's own, which the dispatcher knows
		}
		if _, looked := names[h.Object]; !looked {
			names[h.Object] = d.namesOf(h.Object, definitions)
		}
		for _, name := range names[h.Object] {
			h.Object = name
			out = append(out, dispatch.Hint(h))
		}
	}
	return out
}

// namesOf are those by which a stream may have an object that a portal has
// defined. What is not known is not waited for: the interval finds what the hint
// would have.
func (d *Daemon) namesOf(object string, definitions []string) (out []string) {
	for _, name := range definitions {
		r, err := d.store.Record(name, object)
		if err != nil {
			continue
		}
		var said struct {
			Name  string `json:"name"`
			Whole string `json:"fullyQualifiedName"`
		}
		if json.Unmarshal(r.Properties, &said) != nil {
			continue
		}
		if said.Name != "" {
			out = append(out, "p_"+said.Name)
		}
		if said.Whole != "" && said.Whole != "p_"+said.Name {
			out = append(out, said.Whole)
		}
	}
	return out
}
