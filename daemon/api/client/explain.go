package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Explanation says how what is stored of a record came to be there. Times are
// null where they are not known.
type Explanation struct {
	Stream string `json:"stream"`
	Record string `json:"record"`
	// Seq is its place in the change feed, Head the feed's newest.
	Seq   uint64 `json:"seq"`
	Head  uint64 `json:"head"`
	State string `json:"state"`
	// MergedInto is the record that it is a part of now, null where it is none.
	MergedInto *string `json:"merged_into"`
	// Version is the time by which HubSpot tells one version from another, Read
	// HubSpot's time when this one was asked for, Committed ours when it was
	// stored.
	Version   *time.Time `json:"version"`
	Read      *time.Time `json:"read"`
	Committed *time.Time `json:"committed"`
	// AssociationsRead and HistoryRead are HubSpot's times when these were asked
	// for, null where the stream has none.
	AssociationsRead *time.Time `json:"associations_read"`
	HistoryRead      *time.Time `json:"history_read"`
	// Versions are the one that is stored and what is left of those before it,
	// newest first, 100 at most.
	Versions []ExplainedVersion `json:"versions"`
	// Destinations are those that follow the stream.
	Destinations []Explained `json:"destinations"`
}

// ExplainedVersion is how one version of a record came: when HubSpot was asked for
// it, when it was stored, and by whom.
type ExplainedVersion struct {
	Seq       uint64     `json:"seq"`
	State     string     `json:"state"`
	Version   *time.Time `json:"version"`
	Read      *time.Time `json:"read"`
	Committed *time.Time `json:"committed"`
	// Road is how it came: backfill, search, settle (a window that was read again),
	// list, archived, reconcile, associations, history, fill, record (asked for by
	// name), hint, retry, or erase. Null is not known: it is from before this was kept.
	Road *string `json:"road"`
	// RunID names the run that brought it, null where that is not known or there was
	// none; Run is that run, null when it is no longer kept.
	RunID *string `json:"run_id"`
	Run   *Run    `json:"run"`
	// PropertiesRoad and PropertiesRunID are the same of its properties: others where
	// associations or history alone have changed since those were read.
	PropertiesRoad  *string `json:"properties_road"`
	PropertiesRunID *string `json:"properties_run_id"`
}

// Explained is how far a destination is with a record.
type Explained struct {
	Destination string `json:"destination"`
	Table       string `json:"table"`
	// Position is the destination's place in the stream's feed; Written tells
	// whether it is at the record's or behind it.
	Position uint64 `json:"position"`
	Written  bool   `json:"written"`
}

// Explain says how what is stored of a record came to be there.
func (c *Client) Explain(ctx context.Context, name, id string) (Explanation, error) {
	var out Explanation
	_, err := c.call(ctx, http.MethodGet, streamPath(name, "/records/"+url.PathEscape(id)+"/explain"), nil, nil, &out)
	return out, err
}
