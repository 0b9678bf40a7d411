package worker

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// Somebody waits for a preview: it ends where HubSpot does not answer, and says
// why, whether at once or when it has begun.
func TestPreviewOfASilentHubSpot(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{Token: "t", Sizes: map[string]int{"contacts": 5}})
	for name, silent := range map[string]func(path string) bool{
		"at once":               func(string) bool { return true },
		"behind its properties": func(path string) bool { return !strings.Contains(path, "/properties/") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if silent(r.URL.Path) {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				sim.ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			client := hubspot.New(hubspot.Options{BaseURL: server.URL, Token: func() string { return "t" }, Unpaced: true})
			t.Cleanup(client.Close)
			p := Preview{Object: "contacts", Limit: 5, Patience: 200 * time.Millisecond}
			none := func(*hubspot.Record) error { return nil }
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := p.Fetch(ctx, client, none)
			if err == nil || !strings.Contains(err.Error(), "HubSpot has not answered for 200ms") {
				t.Errorf("%v", err)
			}
			// Who ends it is not told of HubSpot.
			cancel()
			p.Patience = time.Hour
			if err := p.Fetch(ctx, client, none); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "has not answered") {
				t.Errorf("%v", err)
			}
		})
	}
}
