package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	// Parents are how many records a run lists that asks for what belongs to
	// them: of each pair, or of the one object.
	Parents []int64
}

// Measure asks for the size of an object, in three requests; patterns are as in
// a stream's configuration. Its errors are in the words that the daemon shows.
func Measure(ctx context.Context, client *hubspot.Client, name string, properties, exclude []string) (Size, error) {
	o, err := object(name)
	if err != nil || o.Strategy != catalogue.StrategyObjects {
		return Size{}, err
	}
	all, names, err := propertiesOf(ctx, client, o, properties, exclude)
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

// MeasureParents asks for how many records there are whose rows a stream reads,
// by their ids; pairs are as in a stream's configuration. A pair that HubSpot
// knows no association of is an error, beside what was measured of the others.
func MeasureParents(ctx context.Context, client *hubspot.Client, row catalogue.Object, pairs []string) (Size, error) {
	if row.Endpoint.Parent.Kind != catalogue.ParentPairRecords {
		o, err := object(row.Endpoint.Parent.Stream)
		if err != nil {
			return Size{}, err
		}
		n, err := client.Count(ctx, o, 0)
		return Size{Parents: []int64{n}}, plain(err)
	}
	labels, err := object("association_labels")
	if err != nil {
		return Size{}, err
	}
	size, problems := Size{}, []error(nil)
	for _, pair := range pairs {
		from, to, _ := strings.Cut(pair, "/")
		o, err := object(from)
		if err != nil {
			return size, err
		}
		p, err := client.Rows(ctx, labels, hubspot.RowsRequest{Parent: pathOf(pair), Name: pair})
		if err == nil && len(p.Rows) == 0 {
			err = fmt.Errorf("HubSpot knows no associations of %s with %s", from, to)
		}
		var n int64
		if err == nil {
			n, err = client.Count(ctx, o, 0)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", pair, plain(err)))
			continue
		}
		size.Parents = append(size.Parents, n)
	}
	return size, errors.Join(problems...)
}
