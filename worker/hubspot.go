package worker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

var _ Source = (*hubspotSource)(nil)

// HubSpot makes a portal of a client. All its attempts share the client's pace.
func HubSpot(client *hubspot.Client) Portal {
	return func(waits func(*protocol.Wait), replied func()) Source {
		return &hubspotSource{client: client.Reporting(func(w hubspot.Wait) { waits(waitOf(w)) }, replied)}
	}
}

// Limits says what a client knows of its portal's limits, for Options.Limits.
func Limits(client *hubspot.Client) func() protocol.PortalUsage {
	return func() protocol.PortalUsage {
		u := client.Usage()
		out := protocol.PortalUsage{Day: u.Day, Ceiling: u.Ceiling, WindowSeconds: u.Window.Seconds(), Rate: u.BurstRate,
			SearchRate: u.SearchRate, BurstUsed: u.Used, Replies: u.Replies, Daily: u.Daily, Remaining: u.DailyRemaining, Throttled: waitOf(u.Held)}
		if !u.DayEnds.IsZero() {
			out.DayEnds = u.DayEnds.UTC().Format(time.RFC3339)
		}
		return out
	}
}

func waitOf(w hubspot.Wait) *protocol.Wait {
	if w.Kind == "" {
		return nil
	}
	out := &protocol.Wait{Kind: w.Kind, Reason: w.Reason, Hint: w.Hint}
	if !w.Until.IsZero() {
		out.Until = w.Until.UTC().Format(time.RFC3339)
	}
	return out
}

// hubspotSource is a Source over HubSpot's API.
type hubspotSource struct {
	client *hubspot.Client // the attempt's own view
	rows   sync.Map        // of the catalogue, by name: looking one up makes all
}

// object is the function of that name, asked once for each.
func (s *hubspotSource) object(name string) (catalogue.Object, error) {
	if row, ok := s.rows.Load(name); ok {
		if o, ok := row.(catalogue.Object); ok {
			return o, nil
		}
	}
	row, err := object(name)
	if err == nil {
		s.rows.Store(name, row)
	}
	return row, err
}

// Requests counts those of the attempt.
func (s *hubspotSource) Requests() uint64 { return s.client.Requests() }
func (s *hubspotSource) Crowded() bool    { return s.client.Crowded() }

func object(name string) (catalogue.Object, error) {
	o, ok := catalogue.Lookup(name)
	if !ok {
		return o, &ProblemError{protocol.Problem{Type: "object-unknown", Title: "the worker does not know the object", Blocked: true,
			Detail: fmt.Sprintf("%q is not in its catalogue", name), Hint: "the worker may be older than the daemon: update it"}}
	}
	return o, nil
}

// plain puts HubSpot's errors in the worker's words.
func plain(err error) error {
	var blocked *hubspot.Blocked
	var failing *hubspot.Failing
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hubspot.ErrDoesNotAddUp):
		return fmt.Errorf("%w: %w", ErrDoesNotAddUp, err)
	case errors.As(err, &blocked) && (blocked.Type == "not-available" || blocked.Type == "no-associations"):
		return &ProblemError{protocol.Problem{Type: blocked.Type, Title: "HubSpot has nothing of the kind", Blocked: true,
			Detail: blocked.Detail, Hint: blocked.Hint}}
	case errors.As(err, &blocked) && blocked.Type == "too-many":
		return &ProblemError{protocol.Problem{Type: blocked.Type, Title: "HubSpot hands out only a part of it", Blocked: true,
			Detail: blocked.Detail, Hint: blocked.Hint}}
	case errors.As(err, &blocked):
		title := "HubSpot does not let the worker in"
		switch blocked.Type {
		case "token":
			title = "HubSpot refuses the token"
		case "scope":
			title = "The token lacks a scope"
		}
		return &ProblemError{protocol.Problem{Type: blocked.Type, Title: title, Blocked: true,
			Detail: blocked.Detail, Hint: blocked.Hint}}
	case errors.As(err, &failing):
		return &ProblemError{protocol.Problem{Type: refusedProblem, Title: "HubSpot refuses a request", Detail: err.Error(),
			Hint: "it is tried again by itself; HubSpot's words say what is wrong"}}
	}
	return err
}

func (s *hubspotSource) Account(ctx context.Context) (protocol.Account, error) {
	a, err := s.client.Account(ctx)
	return protocol.Account{ID: a.PortalID, TimeZone: a.TimeZone, Currency: a.Currency}, plain(err)
}

func (s *hubspotSource) Definitions(ctx context.Context, name string) (Definitions, error) {
	o, err := s.object(name)
	if err != nil {
		return Definitions{}, err
	}
	ps, err := s.client.Properties(ctx, o)
	if err != nil {
		return Definitions{}, plain(err)
	}
	d := Definitions{AsOf: s.client.HubSpotNow()}
	for _, p := range ps {
		d.Names = append(d.Names, p.Name)
	}
	if d.JSON, err = json.Marshal(ps); err != nil {
		return Definitions{}, fmt.Errorf("encode the definitions of %s: %w", name, err)
	}
	return d, nil
}

// Now is HubSpot's time as the client follows it.
func (s *hubspotSource) Now() int64 { return s.client.HubSpotNow() }

func (s *hubspotSource) List(ctx context.Context, name, after string, names []string, archived bool) (ListPage, error) {
	o, err := s.object(name)
	if err != nil {
		return ListPage{}, err
	}
	p, err := s.client.List(ctx, o, hubspot.ListRequest{After: after, Properties: names, Archived: archived})
	if err != nil {
		return ListPage{}, plain(err)
	}
	left := unreadOf(p.Open)
	return ListPage{Records: recordsOf(p.Records, nil), Open: append(left.Open, left.Gone...), Next: p.Next, Release: p.Release}, nil
}

// Associations gives JSON objects with a member for each of the other objects, in
// their order; what is associated with none has empty lists. A record of which
// HubSpot does not say it for one of them has no part.
func (s *hubspotSource) Associations(ctx context.Context, name string, with, ids []string) ([]protocol.Part, error) {
	o, err := s.object(name)
	if err != nil {
		return nil, err
	}
	parts := make([]protocol.Part, len(ids))
	for i, id := range ids {
		parts[i] = protocol.Part{ID: id, Body: []byte{'{'}}
	}
	for n, other := range with {
		to, err := s.object(other)
		if err != nil {
			return nil, err
		}
		links, err := s.client.Associations(ctx, o, to, ids)
		if err != nil {
			return nil, plain(err)
		}
		parts = slices.DeleteFunc(parts, func(p protocol.Part) bool { return links.Untold[p.ID] })
		for i := range parts {
			p := &parts[i]
			if p.AsOf == 0 || links.AsOf < p.AsOf {
				p.AsOf = links.AsOf
			}
			list, err := json.Marshal(append([]hubspot.Link{}, links.Of[p.ID]...))
			if err != nil {
				return nil, fmt.Errorf("encode associations: %w", err)
			}
			if n > 0 {
				p.Body = append(p.Body, ',')
			}
			p.Body = append(append(strconv.AppendQuote(p.Body, other), ':'), list...)
		}
	}
	for i := range parts {
		p := &parts[i]
		p.Body = append(p.Body, '}')
		sum := sha256.Sum256(p.Body)
		p.Digest = [16]byte(sum[:16])
	}
	return parts, nil
}

// Quiet is for what changes by the clock.
func (s *hubspotSource) Quiet(names []string) { s.client.Quiet(names) }

// Newest is the greatest id that search knows.
func (s *hubspotSource) Newest(ctx context.Context, name string) (uint64, error) {
	o, err := s.object(name)
	if err != nil {
		return 0, err
	}
	p, err := s.client.Search(ctx, o, hubspot.SearchRequest{Sort: "hs_object_id", Descending: true, Limit: 1})
	if err != nil || len(p.Hits) == 0 {
		return 0, plain(err)
	}
	top, err := strconv.ParseUint(p.Hits[0].ID, 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // an id that is no number: one walker it is
	}
	return top, nil
}

// Count is the total of a search.
func (s *hubspotSource) Count(ctx context.Context, name string, w Window) (int, error) {
	o, err := s.object(name)
	if err != nil {
		return 0, err
	}
	n, err := s.client.CountIn(ctx, o, hubspot.Window(w))
	return n, plain(err)
}

func (s *hubspotSource) SearchNewest(ctx context.Context, name string, windows []Window) (Newest, error) {
	o, err := s.object(name)
	if err != nil {
		return Newest{}, err
	}
	settle := make([]hubspot.Window, len(windows)-1)
	for i, w := range windows[1:] {
		settle[i] = hubspot.Window(w)
	}
	n, err := s.client.SearchNewest(ctx, o, hubspot.Window(windows[0]), settle)
	return Newest{Hits: listedOf(n.Hits), Total: n.Total, Began: n.Date - clockSlack, Proved: n.Proved}, plain(err)
}

func (s *hubspotSource) ProveWindow(ctx context.Context, name string, w Window, emit func([]protocol.Listed) error) (*Split, error) {
	o, err := s.object(name)
	if err != nil {
		return nil, err
	}
	split, err := s.client.ProveWindow(ctx, o, hubspot.Window(w), func(hits []hubspot.Hit) error { return emit(listedOf(hits)) })
	if err != nil || split == nil {
		return nil, plain(err)
	}
	return &Split{At: split.At, ID: split.ID}, nil
}

func (s *hubspotSource) ReadAll(ctx context.Context, name string, want []protocol.Listed, r ReadRequest,
	emit func([]protocol.Record, []protocol.Part) error,
) (Unread, error) {
	o, err := s.object(name)
	if err != nil {
		return Unread{}, err
	}
	hits := make([]hubspot.Hit, len(want))
	named := make(map[string]int64, len(want))
	for i, l := range want {
		hits[i], named[l.ID] = hubspot.Hit{ID: l.ID, Version: l.Version}, l.Version
	}
	left, err := s.client.ReadAll(ctx, o, hits, hubspot.ReadRequest(r), func(rs []hubspot.Record) error {
		return emit(recordsOf(rs, named), pastsOf(rs, named))
	})
	if err != nil {
		return Unread{}, plain(err)
	}
	out := unreadOf(left)
	for _, o := range left {
		if o.Old != nil {
			out.Old = append(out.Old, recordsOf([]hubspot.Record{*o.Old}, named)...)
		}
	}
	return out, nil
}

// pastsOf are the histories that came with records. A record that is older than
// it was named has not all of its history yet, and what was merged away has none.
func pastsOf(rs []hubspot.Record, named map[string]int64) (out []protocol.Part) {
	for i := range rs {
		r := &rs[i]
		if r.History != nil && r.MergedInto == "" && r.Version >= named[r.ID] {
			out = append(out, protocol.Part{ID: r.ID, AsOf: r.AsOf, Digest: r.HistoryDigest, Body: r.History})
		}
	}
	return out
}

func unreadOf(ids []hubspot.OpenID) (out Unread) {
	for _, o := range ids {
		id := protocol.OpenID{ID: o.ID, Version: o.Version, Reason: o.Reason}
		if o.Gone {
			out.Gone = append(out.Gone, id)
		} else {
			out.Open = append(out.Open, id)
		}
	}
	return out
}

func listedOf(hits []hubspot.Hit) []protocol.Listed {
	out := make([]protocol.Listed, len(hits))
	for i, h := range hits {
		out[i] = protocol.Listed{ID: h.ID, Version: h.Version}
	}
	return out
}

// recordsOf gives a merged record, which has no version of its own any more,
// the one that it was named with.
func recordsOf(rs []hubspot.Record, named map[string]int64) []protocol.Record {
	out := make([]protocol.Record, len(rs))
	for i := range rs {
		r := &rs[i]
		out[i] = protocol.Record{ID: r.ID, State: "live", Version: r.Version, AsOf: r.AsOf, Digest: r.Digest,
			CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ArchivedAt: r.ArchivedAt, MergedInto: r.MergedInto, Properties: r.Properties, Merged: r.Merged}
		switch {
		case r.MergedInto != "":
			out[i].State, out[i].Properties, out[i].Merged, out[i].Version = "merged", nil, nil, max(r.Version, named[r.ID])
		case r.Archived:
			out[i].State = "archived"
		}
	}
	return out
}
