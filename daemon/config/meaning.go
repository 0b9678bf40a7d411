package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// recordSettings are those that are about the records of the CRM and mean
// nothing to most other streams.
func recordSettings() []string {
	return []string{"properties", "exclude", "volatile", "associations", "history", "start_date"}
}

// means tells whether one of them has an effect on what is read of an object.
func means(setting string, row catalogue.Object) bool {
	switch {
	case row.Strategy == catalogue.StrategyObjects:
		return true
	case setting == "start_date":
		// What comes with the time at which it happened can begin later.
		return row.Strategy == catalogue.StrategyWindowed || row.Strategy == catalogue.StrategyLog
	case setting == "associations":
		return row.Name == "associations" // the pairs that are read
	}
	return false
}

// meaningless refuses what a stream sets and nothing heeds. What defaults say
// for all streams is left out of those to which it means nothing.
func (s *section) meaningless(one *Stream) {
	row, ok := catalogue.Lookup(one.Object)
	if !ok {
		return // that there is no such object has been said
	}
	none := DefaultStream()
	for _, name := range recordSettings() {
		if means(name, row) {
			continue
		}
		if s.has(name) {
			s.at(s.lineOf(name), fmt.Sprintf("%s: %s has no effect on %s, which are no records of the CRM", s.title, name, scrub(row.Name)),
				"take it out; it may stay in defaults, where it holds for the other streams")
		}
		switch name {
		case "properties":
			one.Properties = none.Properties
		case "exclude":
			one.Exclude = none.Exclude
		case "volatile":
			one.Volatile = none.Volatile
		case "associations":
			one.Associations = none.Associations
		case "history":
			one.History = none.History
		case "start_date":
			one.StartDate = none.StartDate
		}
	}
}

// named notes the properties that a stream's own block names, patterns apart.
func (s *section) named(one *Stream) {
	for _, l := range []struct {
		setting string
		names   []string
	}{{"properties", one.Properties}, {"exclude", one.Exclude}, {"history", one.History}} {
		for _, name := range l.names {
			if s.has(l.setting) && !strings.ContainsAny(name, `*?[\`) && !slices.Contains(one.Named, name) {
				one.Named = append(one.Named, name)
			}
		}
	}
}
