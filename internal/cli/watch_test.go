package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// A daemon that goes away and stays away is said once, however long it is waited
// for.
func TestAWatchSaysOnceThatNobodyIsThere(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/events" {
			_ = json.NewEncoder(w).Encode(client.Statuses{Streams: []client.Status{{Name: "contacts", State: client.StateWaiting}}})
			close(asked)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: daemon\nid: 1\ndata: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-asked
		_ = s.Listener.Close() // it goes with this answer
	}))
	s.Config.SetKeepAlivesEnabled(false)
	defer s.Close()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var out, said bytes.Buffer
		c := &command{env: Env{Stdout: &out, Stderr: &said}}
		d := client.New(client.Options{Addr: s.URL})
		defer d.Close()
		if err := c.watchStatus(ctx, d, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "waiting for it"); n != 1 || !strings.Contains(out.String(), "contacts") {
			t.Errorf("said %d times\n%s%s", n, out.String(), said.String())
		}
	})
}
