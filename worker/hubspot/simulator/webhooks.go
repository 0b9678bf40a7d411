package simulator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Webhooks are an app's subscriptions to everything: what changes is posted to
// URL, signed with the secret, in requests of up to a hundred events, in no
// order, now and then twice, and again where it is not answered with success.
type Webhooks struct {
	URL          string
	ClientSecret string
	AppID        int64
}

// The bounds of HubSpot's webhooks.
const (
	eventsAtOnce   = 100
	eventPatience  = 5 * time.Second // an answer that takes longer is none
	eventTries     = 10
	eventsKept     = 100_000
	postsAtOnce    = 10
	eventGathering = 50 * time.Millisecond
)

// hooks are the events that wait to be sent.
type hooks struct {
	mu     sync.Mutex // guards all
	events []map[string]any
	given  int64
	sent   WebhookStats
}

// WebhookStats count what was sent: requests that were answered with success,
// events in them, and requests that were answered otherwise or not at all.
type WebhookStats struct {
	Requests int64 `json:"requests"`
	Events   int64 `json:"events"`
	Failed   int64 `json:"failed"`
}

// WebhookStats returns the counts so far, and how many events wait.
func (s *Simulator) WebhookStats() (sent WebhookStats, waiting int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	return s.hooks.sent, len(s.hooks.events)
}

// tell notes an event of each of these records; extra is what it says besides.
func (s *Simulator) tell(st *store, what string, ids []string, extra map[string]any) {
	if what != "associationChange" {
		s.journalize(st, what, ids, extra)
	}
	if s.o.Webhooks == nil {
		return
	}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	for _, id := range ids {
		if len(s.hooks.events) >= eventsKept {
			return
		}
		s.hooks.given++
		e := map[string]any{
			"eventId": s.hooks.given, "subscriptionId": 1000 + int64(len(what)), "portalId": s.o.PortalID, "appId": s.o.Webhooks.AppID,
			"occurredAt": s.o.Now().UnixMilli(), "attemptNumber": 0, "changeSource": "CRM",
			"subscriptionType": subscription(st, what),
		}
		if st.word() == "object" { // the others have no need of it
			e["objectTypeId"] = st.sc.typeID
		}
		if id != "" {
			e["objectId"], _ = strconv.ParseUint(id, 10, 64) // the simulator's own
		}
		maps.Copy(e, extra)
		s.hooks.events = append(s.hooks.events, e)
	}
}

// subscription is what HubSpot calls an event.
func subscription(st *store, what string) string { return st.word() + "." + what }

// word is what subscriptions call an object: six have a word of their own, all
// others are objects.
func (st *store) word() string {
	switch st.sc.name {
	case "contacts", "deals", "tickets", "products", "line_items":
		return strings.TrimSuffix(st.sc.name, "s")
	case "companies":
		return "company"
	}
	return "object"
}

// tellLink notes that an association of two records was made or ended.
func (s *Simulator) tellLink(a, b *store, from, to uint64, removed bool) {
	says := map[string]any{"associationType": a.sc.singular + "_TO_" + b.sc.singular, "fromObjectId": from, "toObjectId": to,
		"associationRemoved": removed, "isPrimaryAssociation": false}
	s.journalize(a, "associationChange", []string{""}, map[string]any{"fromObjectId": from, "toObjectId": to, "associationRemoved": removed,
		"fromTypeId": a.sc.typeID, "toTypeId": b.sc.typeID})
	if a.word() == "object" || b.word() == "object" {
		says["fromObjectTypeId"], says["toObjectTypeId"] = a.sc.typeID, b.sc.typeID
	}
	s.tell(a, "associationChange", []string{""}, says)
}

// tellMerge notes a merge: the survivor comes first.
func (s *Simulator) tellMerge(st *store, ids []string) {
	nums := make([]uint64, len(ids))
	for i, id := range ids {
		nums[i], _ = strconv.ParseUint(id, 10, 64)
	}
	s.tell(st, "merge", ids[:1], map[string]any{"primaryObjectId": nums[0], "mergedObjectIds": nums[1:], "newObjectId": nums[0], "numberOfPropertiesMoved": 0})
}

// post sends events until ctx ends.
func (s *Simulator) post(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	busy := make(chan struct{}, postsAtOnce)
	tick := time.NewTicker(eventGathering)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for {
			batch := s.nextEvents()
			if len(batch) == 0 {
				break
			}
			select {
			case busy <- struct{}{}:
			case <-ctx.Done():
				return
			}
			wg.Go(func() {
				defer func() { <-busy }()
				s.deliver(ctx, batch)
			})
		}
	}
}

// nextEvents takes a request's worth, some of them for the second time.
func (s *Simulator) nextEvents() []map[string]any {
	s.hooks.mu.Lock()
	n := min(len(s.hooks.events), eventsAtOnce)
	batch := s.hooks.events[:n:n]
	s.hooks.events = s.hooks.events[n:]
	s.hooks.mu.Unlock()
	for i := range batch {
		j := s.intN(i + 1)
		batch[i], batch[j] = batch[j], batch[i]
	}
	if n > 0 && n < eventsAtOnce && s.intN(10) == 0 {
		batch = append(batch, batch[s.intN(n)])
	}
	return batch
}

// deliver sends one request, again and again, as HubSpot does for a day; here
// the waits are short.
func (s *Simulator) deliver(ctx context.Context, batch []map[string]any) {
	for try := range eventTries {
		for _, e := range batch {
			e["attemptNumber"] = try
		}
		if s.deliverOnce(ctx, batch) == nil {
			s.hooks.mu.Lock()
			s.hooks.sent.Requests++
			s.hooks.sent.Events += int64(len(batch))
			s.hooks.mu.Unlock()
			return
		}
		s.hooks.mu.Lock()
		s.hooks.sent.Failed++
		s.hooks.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond << min(try, 6)):
		}
	}
}

func (s *Simulator) deliverOnce(ctx context.Context, batch []map[string]any) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("write events: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, eventPatience)
	defer cancel()
	h := s.o.Webhooks
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("address a webhook: %w", err)
	}
	at := strconv.FormatInt(time.Now().UnixMilli(), 10)
	mac := hmac.New(sha256.New, []byte(h.ClientSecret))
	_, _ = io.WriteString(mac, http.MethodPost+h.URL+string(body)+at) // a hash never fails
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-HubSpot-Request-Timestamp", at)
	r.Header.Set("X-HubSpot-Signature-v3", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	r.Header.Set("User-Agent", "HubSpot Connect 2.0 (http://dev.hubspot.com/) (namespace: webhooks-nio-http-client)")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("post events: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // so that the connection lives
	if resp.StatusCode >= 300 {
		return fmt.Errorf("the webhook was answered with %s", resp.Status)
	}
	return nil
}
