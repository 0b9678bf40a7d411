package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Readable asks for the least that shows whether HubSpot hands out the rows of a
// stream that is no object of the CRM: one page, of one parent. asked is false
// where that would take records of another stream. Its errors are in the words
// that the daemon shows.
func Readable(ctx context.Context, client *hubspot.Client, o catalogue.Object) (asked bool, err error) {
	r := hubspot.RowsRequest{}
	switch o.Endpoint.Parent.Kind {
	case catalogue.ParentNone:
	case catalogue.ParentObjectTypes:
		r.Parent = pathOf("contacts")
		if o.Name == "pipelines" {
			r.Parent = pathOf("deals") // whose scope it needs
		}
	case catalogue.ParentPairs:
		r.Parent = pathOf("contacts/companies")
	case catalogue.ParentEventObjects:
		r.Parent = catalogue.EventType("contacts")
	case catalogue.ParentStream, catalogue.ParentPairRecords:
		return false, nil
	}
	if o.Strategy == catalogue.StrategyWindowed {
		r.To = client.HubSpotNow()
		r.From = r.To - time.Hour.Milliseconds()
	}
	_, err = client.Rows(ctx, o, r)
	return true, plain(err)
}

// Defined asks which objects the portal has defined, by the names that a
// configuration gives them ("p_cars").
func Defined(ctx context.Context, client *hubspot.Client) ([]string, error) {
	schemas, err := object("schemas")
	if err != nil {
		return nil, err
	}
	p, err := client.Rows(ctx, schemas, hubspot.RowsRequest{})
	if err != nil {
		return nil, plain(err)
	}
	var out []string
	for _, row := range p.Rows {
		var s struct{ Name string }
		if err := json.Unmarshal(row.Properties, &s); err != nil {
			return nil, fmt.Errorf("read the definition of an object: %w", err)
		}
		name := "p_" + s.Name
		if _, ok := catalogue.Custom(name); ok {
			out = append(out, name)
		}
	}
	return out, nil
}
