package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// ofPairs tells whether a stream of an object is read for pairs that it names.
func ofPairs(row catalogue.Object) bool {
	return row.Endpoint.Parent.Kind == catalogue.ParentPairRecords
}

// checkLinked refuses what has no associations: all but the objects of the CRM,
// and pairs of them. Which of them may be linked with which is for the portal to
// say.
func checkLinked(text string) error {
	if from, to, pair := strings.Cut(text, "/"); pair {
		for _, one := range []string{from, to} {
			if err := checkLinked(one); err != nil || strings.Contains(one, "/") {
				return fmt.Errorf("the pair %q: %w", text, orElse(err, "it has more than two objects"))
			}
		}
		return nil
	}
	if err := checkItem(text); err != nil {
		return err
	}
	row, ok := catalogue.Lookup(text)
	switch {
	case !ok:
		return fmt.Errorf("there is no object %q; %sa custom object is written p_name or 2-123", text, perhaps(text))
	case row.Strategy != catalogue.StrategyObjects:
		return fmt.Errorf("%q has no associations: it is no object of the CRM", text)
	}
	return nil
}

func orElse(err error, text string) error {
	if err == nil {
		return fmt.Errorf("%s", text)
	}
	return err
}

// perhaps asks whether another object was meant, where one is near.
func perhaps(text string) string {
	var names []string
	for _, o := range catalogue.Objects() {
		names = append(names, o.Name)
	}
	if n := nearest(text, names); n != "" {
		return fmt.Sprintf("did you mean %q? ", n)
	}
	return ""
}

// pairExample is what to write.
const pairExample = `associations = ["deals/contacts", "contacts/companies"]`

// associations holds a stream's associations against its object: pairs are for
// the stream of associations, which needs some, objects for all others.
func (s *section) associations(one *Stream) {
	row, _ := catalogue.Lookup(one.Object)
	switch {
	case one.Associations == nil:
		return // what is wrong with them has been said
	case !ofPairs(row):
		s.noPairs(one)
		return
	case !s.has("associations"), len(one.Associations) == 0:
		// Those of defaults are for objects.
		s.at(s.lineOf("associations"), s.title+": it names no pairs of objects whose associations to copy", "write "+pairExample)
		return
	}
	var pairs []string
	for _, text := range one.Associations {
		from, to, pair := strings.Cut(text, "/")
		if !pair {
			s.at(s.lineOf("associations"), fmt.Sprintf("%s: associations: %q is one object; each entry is a pair", s.title, scrub(text)), "write "+pairExample)
			return
		}
		a, _ := catalogue.Lookup(from)
		b, _ := catalogue.Lookup(to)
		name := a.Name + "/" + b.Name // by its type id or another of its names
		if slices.Contains(pairs, name) {
			s.bad("associations", "associations names %q twice", scrub(name))
			return
		}
		pairs = append(pairs, name)
	}
	one.Associations = pairs
}

// noPairs refuses pairs where objects are to be named.
func (s *section) noPairs(one *Stream) {
	for _, text := range one.Associations {
		if strings.Contains(text, "/") {
			s.at(s.lineOf("associations"), fmt.Sprintf("%s: associations: %q is a pair; here stand the objects whose associations with this one are copied", s.title, scrub(text)),
				`pairs stand in a stream of their own: stream "links" { object = "associations" … }`)
			one.Associations = nil
			return
		}
	}
}
