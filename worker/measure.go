package worker

import (
	"context"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// Size is what HubSpot says of an object before any of it is read.
type Size struct {
	// Records are the live ones, Changed those modified in the last 24 hours.
	Records, Changed int64
	// Properties is how many a stream with these patterns reads; Wide says that
	// a page of them takes two requests.
	Properties int
	Wide       bool
	// Names are all properties that HubSpot has.
	Names []string
}

// Measure asks for the size of an object, in three requests; patterns are as in
// a stream's configuration. Its errors are in the words that the daemon shows.
func Measure(ctx context.Context, client *hubspot.Client, name string, properties, exclude []string) (Size, error) {
	o, err := object(name)
	if err != nil || o.Strategy != catalogue.StrategyObjects {
		return Size{}, err
	}
	ps, err := client.Properties(ctx, o)
	if err != nil {
		return Size{}, plain(err)
	}
	all := make([]string, len(ps))
	for i, p := range ps {
		all[i] = p.Name
	}
	names, err := choose(all, properties, exclude)
	if err != nil {
		return Size{}, err
	}
	size := Size{Properties: len(names), Names: all, Wide: !client.Fits(o, names)}
	if size.Records, err = client.Count(ctx, o, 0); err != nil {
		return size, plain(err)
	}
	if size.Changed, err = client.Count(ctx, o, client.HubSpotNow()-(24*time.Hour).Milliseconds()); err != nil {
		return size, plain(err)
	}
	return size, nil
}
