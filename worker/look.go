package worker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Look asks HubSpot for one record as it is now, with the properties that a
// stream of these patterns reads; false where HubSpot has it neither live nor
// archived. Its errors are in the words that the daemon shows.
func Look(ctx context.Context, client *hubspot.Client, name, id string, properties, exclude []string) (hubspot.Record, bool, error) {
	o, err := crmObject(name)
	if err != nil {
		return hubspot.Record{}, false, err
	}
	_, names, err := propertiesOf(ctx, client, o, properties, exclude)
	if err != nil {
		return hubspot.Record{}, false, err
	}
	for _, archived := range []bool{false, true} {
		found, _, err := client.BatchRead(ctx, o, []string{id}, names, archived)
		if err != nil {
			return hubspot.Record{}, false, plain(err)
		}
		if r, ok := found[id]; ok {
			return r, true, nil
		}
	}
	return hubspot.Record{}, false, nil
}

// Preview is what is to be fetched of an object to be looked at: at most Limit
// records, with the properties that a stream of these patterns reads, or with
// Fields alone where there are any, whether or not such a stream reads them.
type Preview struct {
	Object              string
	Properties, Exclude []string
	Fields              []string
	Limit               int
	// Patience is how long HubSpot may take for a page, with all that is tried
	// again; 0 is for as long as it takes.
	Patience time.Duration
}

// UnknownPropertyError is of a property that was asked for and that the object
// does not have; Known are those that it has.
type UnknownPropertyError struct {
	Object, Property string
	Known            []string
}

func (e *UnknownPropertyError) Error() string {
	return fmt.Sprintf("%s has no property %q in HubSpot", e.Object, e.Property)
}

// Fetch asks HubSpot for its first records and gives each to fn, which keeps
// nothing of it.
func (p *Preview) Fetch(ctx context.Context, client *hubspot.Client, fn func(*hubspot.Record) error) error {
	var o catalogue.Object
	var names []string
	err := p.within(ctx, func(ctx context.Context) (err error) {
		o, names, err = p.names(ctx, client)
		return err
	})
	if err != nil {
		return err
	}
	limit := p.Limit
	for after := ""; limit > 0; {
		var page hubspot.ListPage
		if err := p.within(ctx, func(ctx context.Context) (err error) {
			page, err = client.List(ctx, o, hubspot.ListRequest{After: after, Limit: min(limit, o.ListLimit), Properties: names})
			return plain(err)
		}); err != nil {
			return err
		}
		for i := range page.Records {
			if limit--; limit < 0 {
				break
			}
			if err := fn(&page.Records[i]); err != nil {
				return err
			}
		}
		after = page.Next
		page.Release()
		if after == "" {
			return nil
		}
	}
	return nil
}

// within does what asks HubSpot, which asks again for as long as it may.
func (p *Preview) within(ctx context.Context, ask func(context.Context) error) error {
	if p.Patience == 0 {
		return ask(ctx)
	}
	bound, cancel := context.WithTimeout(ctx, p.Patience)
	defer cancel()
	err := ask(bound)
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("HubSpot has not answered for %v: %w", p.Patience, err)
	}
	return err
}

// names are the object and the properties to ask for.
func (p *Preview) names(ctx context.Context, client *hubspot.Client) (catalogue.Object, []string, error) {
	o, err := crmObject(p.Object)
	if err != nil {
		return o, nil, err
	}
	all, chosen, err := propertiesOf(ctx, client, o, p.Properties, p.Exclude)
	if err != nil || len(p.Fields) == 0 {
		return o, chosen, err
	}
	for _, f := range p.Fields {
		if !slices.Contains(all, f) {
			return o, nil, &UnknownPropertyError{Object: o.Name, Property: f, Known: all}
		}
	}
	return o, p.Fields, nil
}

// crmObject is an object whose records can be asked for one by one.
func crmObject(name string) (catalogue.Object, error) {
	o, err := object(name)
	if err == nil && o.Strategy != catalogue.StrategyObjects {
		err = fmt.Errorf("%s is no object of the CRM: HubSpot gives its rows only together", name)
	}
	return o, err
}

// propertiesOf are the names of all properties that an object has, and of those
// that a stream of these patterns reads.
func propertiesOf(ctx context.Context, client *hubspot.Client, o catalogue.Object, properties, exclude []string) (all, chosen []string, err error) {
	ps, err := client.Properties(ctx, o)
	if err != nil {
		return nil, nil, plain(err)
	}
	for _, p := range ps {
		all = append(all, p.Name)
	}
	chosen, err = choose(all, properties, exclude)
	return all, chosen, err
}
