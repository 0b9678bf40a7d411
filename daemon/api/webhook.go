package api

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/webhook"
)

// webhookPath is where HubSpot calls. What is below it needs no token: what
// HubSpot signs is its credential.
const webhookPath = "/v1/webhooks/hubspot/"

// isWebhook tells whether a request is to be held against HubSpot's signature
// instead of a token. It comes from outside and by a name that a proxy gives
// it, so that neither Host nor Origin says anything.
func isWebhook(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, webhookPath)
}

// webhook takes HubSpot's word that something has changed. It answers when the
// ledger has it; what HubSpot sends twice is read twice.
func (s *Server) webhook(w http.ResponseWriter, r *http.Request, _ params) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			return &client.Problem{Type: client.TypeBodyTooLarge, Title: "the body is too large", Status: http.StatusRequestEntityTooLarge,
				Detail: "HubSpot's events are smaller", Hint: "see what sends to this address"}
		}
		return badBody("send the events as HubSpot does", "the body could not be read")
	}
	err = s.o.Webhooks.Receive(r.Context(), r.PathValue("portal"), webhook.Signed{Method: r.Method, Addresses: s.addresses(r), Body: body,
		Timestamp: r.Header.Get(webhook.TimestampHeader), Signature: r.Header.Get(webhook.SignatureHeader)})
	switch {
	case errors.Is(err, webhook.ErrUnsigned) || errors.Is(err, webhook.ErrStale) || errors.Is(err, webhook.ErrForged):
		p := &client.Problem{Type: client.TypeBadSignature, Title: "that is not signed as HubSpot signs", Status: http.StatusUnauthorized, Detail: err.Error(),
			Hint: "webhook { client_secret } has to be that of the app that sends; behind a proxy, http { hosts } has to name the host that HubSpot calls"}
		switch {
		case errors.Is(err, webhook.ErrUnsigned) && r.Header.Get(webhook.OldHeader) != "":
			p.Hint = "signatures of version 1 and 2 hold for ever and are not taken; HubSpot sends version 3 beside them"
		case errors.Is(err, webhook.ErrStale):
			p.Hint = "a request that was held back or is sent again is not taken; where every one is refused, set this machine's clock"
		}
		return p
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// addresses are those by which HubSpot may have called, as it signs them. A
// wrong one does no harm: without the secret none of them is signed.
func (s *Server) addresses(r *http.Request) []string {
	hosts := []string{r.Host}
	if h, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Host"), ","); strings.TrimSpace(h) != "" {
		hosts = append(hosts, strings.TrimSpace(h))
	}
	hosts = append(hosts, s.o.AllowedHosts...)
	var out []string
	for i, h := range hosts {
		if slices.Contains(hosts[:i], h) {
			continue
		}
		out = append(out, "https://"+h+r.RequestURI, "http://"+h+r.RequestURI)
	}
	return out
}
