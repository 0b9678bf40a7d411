package hubspot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Link is one associated record with what the association is called.
type Link struct {
	ID    string     `json:"id"`
	Types []LinkType `json:"types"`
}

// LinkType is one kind of an association; Label is null for HubSpot's plain one.
type LinkType struct {
	Category string  `json:"category"`
	TypeID   int64   `json:"typeId"`
	Label    *string `json:"label"`
}

// linkInput names a record in a batch, and the place in its associations.
type linkInput struct {
	ID    string `json:"id"`
	After string `json:"after,omitempty"`
}

// Links are the associations of some records.
type Links struct {
	// Of are those of each record, in the order of ids; a record without any is
	// not in it.
	Of map[string][]Link
	// Untold are records for which HubSpot answers with an error: what they are
	// associated with is not known.
	Untold map[string]bool
	// AsOf is HubSpot's time when the first request began, in ms.
	AsOf int64
}

// Associations reads with which records of another object up to a thousand
// records are associated.
func (c *Client) Associations(ctx context.Context, obj, to catalogue.Object, ids []string) (Links, error) {
	if len(ids) > catalogue.AssociationsLimit {
		return Links{}, fmt.Errorf("read associations of %d %s: at most %d at once", len(ids), obj.Name, catalogue.AssociationsLimit)
	}
	inputs := make([]linkInput, len(ids))
	for i, id := range ids {
		inputs[i].ID = id
	}
	out := Links{Of: map[string][]Link{}, Untold: map[string]bool{}}
	for seen := map[linkInput]bool{}; len(inputs) > 0; {
		more, err := c.associationPage(ctx, obj, to, inputs, &out)
		if refused(err) {
			return Links{}, &Blocked{Type: "no-associations",
				Detail: fmt.Sprintf("HubSpot hands out no associations of %s with %s%s: %v", obj.Name, to.Name, c.pin(), err),
				Hint:   fmt.Sprintf("take %q out of the stream's associations and reload", to.Name) + c.unpin()}
		}
		if err != nil {
			return Links{}, fmt.Errorf("read associations of %s with %s: %w", obj.Name, to.Name, final(err))
		}
		for _, in := range more {
			if seen[in] {
				return Links{}, &Failing{Detail: fmt.Sprintf("HubSpot's associations of %s %s lead back to a place: reading on would never end", obj.Name, in.ID)}
			}
		}
		for _, in := range more {
			seen[in] = true
		}
		inputs = more
	}
	for id := range out.Of {
		if out.Of[id] = inOrder(out.Of[id]); out.Untold[id] {
			delete(out.Of, id) // a part of them is worse than none
		}
	}
	return out, nil
}

// inOrder brings links into one form, whatever order HubSpot gave them in.
func inOrder(links []Link) []Link {
	slices.SortStableFunc(links, func(a, b Link) int {
		if n := cmp.Compare(len(a.ID), len(b.ID)); n != 0 {
			return n
		}
		return cmp.Compare(a.ID, b.ID)
	})
	whole := links[:0]
	for _, l := range links {
		if n := len(whole); n > 0 && whole[n-1].ID == l.ID {
			whole[n-1].Types = append(whole[n-1].Types, l.Types...)
			continue
		}
		whole = append(whole, l)
	}
	for i := range whole {
		t := whole[i].Types
		slices.SortFunc(t, func(a, b LinkType) int {
			return cmp.Or(cmp.Compare(a.Category, b.Category), cmp.Compare(a.TypeID, b.TypeID))
		})
		whole[i].Types = slices.CompactFunc(t, func(a, b LinkType) bool { return a.Category == b.Category && a.TypeID == b.TypeID })
	}
	return whole
}

// associationPage reads one reply into out, and returns the records that have
// more, each with the place that HubSpot named, unchanged.
func (c *Client) associationPage(ctx context.Context, obj, to catalogue.Object, inputs []linkInput, out *Links) (more []linkInput, err error) {
	text, err := json.Marshal(struct {
		Inputs []linkInput `json:"inputs"`
	}{inputs})
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	asked, ids := make(map[string]bool, len(inputs)), make([]string, len(inputs))
	for i, in := range inputs {
		asked[in.ID], ids[i] = true, in.ID
	}
	err = c.do(ctx, call{
		kind: "associations", method: http.MethodPost, family: "associations/" + obj.PathName + "/" + to.PathName,
		path: func(version string) string { return obj.AssociationsPath(version, to) }, body: text,
		decode: func(rep reply) error {
			var body struct {
				Results *[]struct {
					From struct {
						ID flexID `json:"id"`
					} `json:"from"`
					To []struct {
						ID    flexID     `json:"toObjectId"`
						Types []LinkType `json:"associationTypes"`
					} `json:"to"`
					Paging struct {
						Next struct {
							After string `json:"after"`
						} `json:"next"`
					} `json:"paging"`
				} `json:"results"`
			}
			if err := json.Unmarshal(rep.body, &body); err != nil {
				return fmt.Errorf("decode associations: %w", err)
			}
			if body.Results == nil {
				return errors.New("decode associations: no results in it")
			}
			more = nil
			if out.AsOf == 0 {
				out.AsOf = rep.asOf
			}
			for _, id := range untold(rep.body, ids) {
				out.Untold[id] = true
			}
			for _, r := range *body.Results {
				id := string(r.From.ID)
				if !asked[id] {
					continue // nobody asked for it
				}
				for _, t := range r.To {
					if t.ID == "" {
						return errors.New("decode associations: one without an id")
					}
					out.Of[id] = append(out.Of[id], Link{ID: string(t.ID), Types: append([]LinkType{}, t.Types...)})
				}
				if after := r.Paging.Next.After; after != "" {
					more = append(more, linkInput{ID: id, After: after})
				}
			}
			return nil
		},
	})
	return more, err
}

// flexID is an id that is text in one version of the API and a number in
// another.
type flexID string

// UnmarshalJSON takes both.
func (f *flexID) UnmarshalJSON(b []byte) error {
	*f = flexID(identity(b))
	if *f == "" {
		return errBadID
	}
	return nil
}
