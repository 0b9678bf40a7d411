package config

import (
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// firstObjects are those that everybody has.
func firstObjects() []string { return []string{"contacts", "companies", "deals", "tickets"} }

// intervalOf is how often an object is read where nothing else is set.
func intervalOf(object string) time.Duration {
	if row, ok := catalogue.Lookup(object); ok && row.Interval > 0 {
		return row.Interval
	}
	return DefaultInterval
}

// relate gives the streams that are read for objects those of their portal.
func (c *Config) relate() {
	for i := range c.Streams {
		s := &c.Streams[i]
		row, ok := catalogue.Lookup(s.Object)
		if !ok {
			continue
		}
		switch row.Endpoint.Parent.Kind {
		case catalogue.ParentObjectTypes:
			s.Parents = c.objectsOf(s.Portal)
		case catalogue.ParentPairs:
			s.Parents = c.pairsOf(s.Portal)
		case catalogue.ParentEventObjects:
			s.Parents = c.eventObjectsOf(s.Portal)
		case catalogue.ParentPairRecords:
			s.Parents = slices.Sorted(slices.Values(s.Associations))
		}
	}
}

// objectsOf are the objects of the CRM that a portal's streams copy; where they
// copy none, those that everybody has.
func (c *Config) objectsOf(portal string) []string {
	var out []string
	for _, s := range c.Streams {
		row, ok := catalogue.Lookup(s.Object)
		if ok && s.Portal == portal && row.Strategy == catalogue.StrategyObjects {
			out = append(out, row.Name)
		}
	}
	if len(out) == 0 {
		out = firstObjects()
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// eventObjectsOf are the objects whose events a portal tells: those that everybody
// has, and the custom ones that its streams copy. Each costs a request a run.
func (c *Config) eventObjectsOf(portal string) []string {
	out := catalogue.EventObjects()
	for _, name := range c.objectsOf(portal) {
		if row, ok := catalogue.Lookup(name); ok && row.Custom {
			out = append(out, name)
		}
	}
	return out
}

// pairsOf are the pairs whose associations a portal's streams copy, both ways;
// where they copy none, all pairs of its objects.
func (c *Config) pairsOf(portal string) []string {
	var out []string
	for _, s := range c.Streams {
		from, ok := catalogue.Lookup(s.Object)
		if ok && s.Portal == portal && ofPairs(from) {
			for _, pair := range s.Associations {
				one, other, _ := strings.Cut(pair, "/")
				out = append(out, pair, other+"/"+one)
			}
		}
		if !ok || s.Portal != portal || from.Strategy != catalogue.StrategyObjects {
			continue
		}
		for _, name := range s.Associations {
			if to, ok := catalogue.Lookup(name); ok {
				out = append(out, from.Name+"/"+to.Name, to.Name+"/"+from.Name)
			}
		}
	}
	if len(out) == 0 {
		for _, from := range c.objectsOf(portal) {
			for _, to := range c.objectsOf(portal) {
				if from != to {
					out = append(out, from+"/"+to)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
