package hubspot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// batchBody is the body of a batch read; newer versions require every field.
type batchBody struct {
	Inputs     []batchInput `json:"inputs"`
	Properties []string     `json:"properties"`
	History    []string     `json:"propertiesWithHistory"`
}

type batchInput struct {
	ID string `json:"id"`
}

// BatchRead reads up to obj.BatchLimit records, live ones or archived ones.
// What it returns is found by the id that each record carries; an id that
// HubSpot does not give is not in it. AsOf is HubSpot's time when the (first)
// request began, in ms.
func (c *Client) BatchRead(ctx context.Context, obj catalogue.Object, ids, props []string, archived bool) (map[string]Record, int64, error) {
	if len(ids) > obj.BatchLimit {
		return nil, 0, fmt.Errorf("read %d %s: at most %d at once", len(ids), obj.Name, obj.BatchLimit)
	}
	out := make(map[string]Record, len(ids))
	if len(ids) == 0 {
		return out, 0, nil
	}
	asOf, err := c.batch(ctx, obj, ids, selection{names: withCursor(props, obj)}, archived, out)
	if err != nil {
		return nil, 0, fmt.Errorf("read %d %s: %w", len(ids), obj.Name, final(err))
	}
	return out, asOf, nil
}

// batchOf reads into out, with one request. Ids whose records are too large
// together are read in halves.
func (c *Client) batchOf(ctx context.Context, obj catalogue.Object, ids []string, f selection, archived bool, out map[string]Record) (int64, error) {
	body := batchBody{Inputs: make([]batchInput, len(ids)), Properties: f.names, History: append([]string{}, f.history...)}
	for i, id := range ids {
		body.Inputs[i].ID = id
	}
	text, err := json.Marshal(body)
	if err != nil {
		return 0, fmt.Errorf("encode batch read: %w", err)
	}
	var asOf int64
	err = c.do(ctx, call{
		kind: "batch", method: http.MethodPost, family: "objects/" + obj.Name, preferred: obj.Version,
		path:  func(version string) string { return obj.Path(version) + "/batch/read" },
		query: "archived=" + strconv.FormatBool(archived), body: text,
		decode: func(rep reply) error {
			rd := reading{cursor: obj.Cursor, quiet: c.quiet, digest: true, history: len(f.history) > 0, asOf: rep.asOf, limit: len(ids)}
			p, err := rd.page(rep.body)
			if err != nil {
				return fmt.Errorf("decode batch read: %w", err)
			}
			asOf = rep.asOf
			for _, rec := range p.records {
				rec.Archived = rec.Archived || archived
				if seen, ok := out[rec.ID]; !ok || seen.Version < rec.Version {
					out[rec.ID] = rec
				}
			}
			return nil
		},
	})
	if errors.Is(err, errTooLarge) && len(ids) > 1 {
		half := len(ids) / 2
		asOf, err = c.batchOf(ctx, obj, ids[:half], f, archived, out)
		if err == nil {
			_, err = c.batchOf(ctx, obj, ids[half:], f, archived, out)
		}
	}
	return asOf, err
}

// Get reads one record; ErrNotFound where there is none. HubSpot answers for a
// record that was merged with the one that it was merged into: its id differs
// then from the one that was asked for. Where the names are too many for an
// address, the record has its version but no other properties.
func (c *Client) Get(ctx context.Context, obj catalogue.Object, id string, props []string, archived bool) (Record, error) {
	return c.get(ctx, obj, id, selection{names: withCursor(props, obj)}, archived)
}

// get is Get, with the history of properties where that fits, too.
func (c *Client) get(ctx context.Context, obj catalogue.Object, id string, f selection, archived bool) (Record, error) {
	if !plainID(id) {
		return Record{}, fmt.Errorf("read %s %q: %w", obj.Name, id, ErrNotFound)
	}
	var rec Record
	if !c.fitsSingly(obj, id, f) {
		f = selection{names: []string{obj.Cursor}} // it serves to learn which record answers
	}
	err := c.do(ctx, call{
		kind: "get", method: http.MethodGet, family: "objects/" + obj.Name, preferred: obj.Version,
		path:  func(version string) string { return obj.Path(version) + "/" + id },
		query: getQuery(f, archived), single: true,
		decode: func(rep reply) error {
			rd := reading{cursor: obj.Cursor, quiet: c.quiet, digest: true, history: len(f.history) > 0, asOf: rep.asOf, limit: 1}
			got, err := rd.one(rep.body)
			if err != nil {
				return fmt.Errorf("decode record: %w", err)
			}
			got.Archived = got.Archived || archived
			rec = got
			return nil
		},
	})
	if err != nil {
		return Record{}, fmt.Errorf("read %s %s: %w", obj.Name, id, final(err))
	}
	return rec, nil
}

func getQuery(f selection, archived bool) string {
	q := "archived=" + strconv.FormatBool(archived) + "&properties=" + url.QueryEscape(strings.Join(f.names, ","))
	if len(f.history) > 0 {
		q += "&propertiesWithHistory=" + url.QueryEscape(strings.Join(f.history, ","))
	}
	return q
}

// fitsSingly says whether Get brings all of these properties; where the names
// are too many for an address, it brings the version only.
func (c *Client) fitsSingly(obj catalogue.Object, id string, f selection) bool {
	return len(obj.Path(catalogue.DefaultVersion))+len(id)+2+len(getQuery(f, false)) <= c.shared.maxAddress
}

// plainID says whether an id can stand in an address as it is.
func plainID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return id != ""
}
