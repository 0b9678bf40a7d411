package worker

import (
	"context"
	"fmt"

	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Look asks HubSpot for one record as it is now, with the properties that a
// stream of these patterns reads; false where HubSpot has it neither live nor
// archived. Its errors are in the words that the daemon shows.
func Look(ctx context.Context, client *hubspot.Client, name, id string, properties, exclude []string) (hubspot.Record, bool, error) {
	o, names, err := lookable(ctx, client, name, properties, exclude)
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

// Preview asks HubSpot for its first records, at most limit, and gives each to
// fn, which keeps nothing of it.
func Preview(ctx context.Context, client *hubspot.Client, name string, properties, exclude []string, limit int, fn func(*hubspot.Record) error) error {
	o, names, err := lookable(ctx, client, name, properties, exclude)
	if err != nil {
		return err
	}
	for after := ""; limit > 0; {
		page, err := client.List(ctx, o, hubspot.ListRequest{After: after, Limit: min(limit, o.ListLimit), Properties: names})
		if err != nil {
			return plain(err)
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

// lookable is an object whose records can be asked for one by one, and the
// properties that a stream of these patterns reads of it.
func lookable(ctx context.Context, client *hubspot.Client, name string, properties, exclude []string) (catalogue.Object, []string, error) {
	o, err := object(name)
	if err != nil {
		return o, nil, err
	}
	if o.Strategy != catalogue.StrategyObjects {
		return o, nil, fmt.Errorf("%s is no object of the CRM: HubSpot gives its rows only together", name)
	}
	_, names, err := propertiesOf(ctx, client, o, properties, exclude)
	return o, names, err
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
