package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

func (s *hubspotSource) Rows(ctx context.Context, name string, r RowsRequest) (RowsPage, error) {
	o, err := s.object(name)
	if err != nil {
		return RowsPage{}, err
	}
	p, err := s.client.Rows(ctx, o, hubspot.RowsRequest(r))
	if err != nil {
		switch {
		case errors.Is(err, hubspot.ErrTooMany):
			return RowsPage{}, fmt.Errorf("%w: %w", ErrTooMany, err)
		case len(r.Inputs) > 0 && errors.Is(err, hubspot.ErrNotFound):
			return RowsPage{}, fmt.Errorf("%w: %w", ErrUnreadable, &ProblemError{protocol.Problem{Type: "not-available", Title: "HubSpot has nothing of the kind", Blocked: true,
				Detail: "HubSpot knows no " + strings.ReplaceAll(name, "_", " ") + " of " + r.Parent + ": it answers with status 404",
				Hint:   "it may come with another edition of HubSpot; leave it out until then"}})
		case r.Parent != "" && ofParent(err), len(r.Inputs) > 0 && ofInputs(err):
			return RowsPage{}, fmt.Errorf("%w: %w", ErrUnreadable, plain(err))
		}
		return RowsPage{}, plain(err)
	}
	records := recordsOf(p.Rows, nil)
	for i := range records {
		// A whole read is not late, as search is: what it says counts at once.
		records[i].Confirmed = true
	}
	return RowsPage{Records: records, Unnamed: p.Unnamed, Unread: p.Unread, Next: p.Next}, nil
}

// ofParent tells whether a refusal may be about one parent alone.
func ofParent(err error) bool {
	if errors.Is(err, hubspot.ErrNotFound) {
		return true
	}
	if blocked, ok := errors.AsType[*hubspot.Blocked](err); ok {
		return blocked.Type == "scope"
	}
	return ofInputs(err)
}

// ofInputs tells whether a refusal may be about some of the inputs: a scope or
// an address is about all of them.
func ofInputs(err error) bool {
	failing, ok := errors.AsType[*hubspot.Failing](err)
	return ok && failing.Status >= http.StatusBadRequest && failing.Status < http.StatusInternalServerError
}
