package simulator

import (
	"strings"
	"time"
)

// Scenarios returns all scenarios; the last one has everything of the others.
func Scenarios() []Scenario {
	all := []Scenario{bulkEdit(), merges(), bin(), definitions(), storms(), lateness(), flaky(), credentials()}
	return append(all, everything(all))
}

func bulkEdit() Scenario {
	edit := func(n int) func(*Simulator) error {
		return func(s *Simulator) error {
			_, err := s.Change("contacts", Change{Change: n, At: s.o.Now().UnixMilli()})
			return err
		}
	}
	return Scenario{
		Name: "bulk-edit", About: "more than 10,000 contacts change in one millisecond, twice",
		prepare: func(o *Options) { o.grow(13000, "contacts") },
		steps: []step{
			{"12,000 contacts change in one millisecond", edit(12000)},
			{"all contacts change in one millisecond", edit(1 << 30)},
		},
	}
}

// merging merges some drawn records of an object, each with its neighbours.
func merging(object string, times, losers int, newID bool) func(*Simulator) error {
	return func(s *Simulator) error {
		for range times {
			ids := s.stores[object].some(s, live, losers+1)
			if len(ids) <= losers {
				return nil
			}
			if _, err := s.Change(object, Change{Merge: []Merge{{Into: ids[0], From: ids[1:], NewID: newID}}}); err != nil {
				return err
			}
		}
		return nil
	}
}

func merges() Scenario {
	return Scenario{
		Name: "merges", About: "records are merged, into a new id and into one of theirs, and survivors again",
		prepare: func(o *Options) { o.grow(200, "contacts", "companies"); o.link(1.2, "contacts-companies") },
		steps: []step{
			{"six contacts are merged into new ids", merging("contacts", 3, 1, true)},
			{"six companies keep one of two ids each", merging("companies", 3, 1, false)},
			{"a contact takes in four others", merging("contacts", 1, 4, false)},
			{"a survivor is merged into another", func(s *Simulator) error {
				first := s.stores["contacts"].some(s, live, 4)
				if len(first) < 4 {
					return nil
				}
				ids, err := s.Change("contacts", Change{Merge: []Merge{{Into: first[0], From: first[1:2], NewID: true}}})
				if err != nil {
					return err
				}
				_, err = s.Change("contacts", Change{Merge: []Merge{{Into: first[2], From: ids[:1]}, {Into: first[3], From: first[2:3], NewID: true}}})
				return err
			}},
		},
	}
}

// moving archives, restores or purges some drawn records.
func moving(object string, n int, from state, change func(*Change, []string)) func(*Simulator) error {
	return func(s *Simulator) error {
		c := Change{}
		change(&c, s.stores[object].some(s, from, n))
		_, err := s.Change(object, c)
		return err
	}
}

func archive(c *Change, ids []string) { c.Archive = ids }
func restore(c *Change, ids []string) { c.Restore = ids }
func purge(c *Change, ids []string)   { c.Delete = ids }

func bin() Scenario {
	return Scenario{
		Name: "bin", About: "records are archived, restored and purged, from the bin and without it",
		prepare: func(o *Options) { o.grow(200, "contacts", "deals") },
		setup:   []step{{"twenty contacts are in the bin", moving("contacts", 20, live, archive)}},
		steps: []step{
			{"thirty contacts and ten deals are archived", both(moving("contacts", 30, live, archive), moving("deals", 10, live, archive))},
			{"ten contacts are restored", moving("contacts", 10, archived, restore)},
			{"ten leave the bin for good", moving("contacts", 10, archived, purge)},
			{"five live contacts are erased", moving("contacts", 5, live, purge)},
		},
	}
}

func both(all ...func(*Simulator) error) func(*Simulator) error {
	return func(s *Simulator) error {
		for _, do := range all {
			if err := do(s); err != nil {
				return err
			}
		}
		return nil
	}
}

func properties(object string, c PropertyChange) func(*Simulator) error {
	return func(s *Simulator) error { return s.ChangeProperties(object, c) }
}

// longName is as long as the name of a property may be.
func longName() string { return strings.Repeat("a_name_that_goes_on_", 5)[:100] }

func definitions() Scenario {
	huge := strings.Repeat(`"so", he said; `, 4400)[:65536]
	return Scenario{
		Name: "definitions", About: "properties come, go, change their type, become sensitive; values change without a time",
		prepare: func(o *Options) { o.grow(200, "contacts", "deals") },
		setup: []step{{"calculated and volatile properties", both(
			properties("contacts", PropertyChange{Add: []NewProperty{{Name: "hs_predictive_score", Kind: "number", Fill: 90, Calculated: true}}}),
			properties("deals", PropertyChange{Add: []NewProperty{{Name: "days_to_close", Kind: "days", Fill: 80}, {Name: "hs_time_in_closedwon", Kind: "elapsed", Fill: 30}}}),
		)}},
		steps: []step{
			{"a property with values is added, and one with a name of 100 characters", properties("contacts", PropertyChange{Add: []NewProperty{{Name: "new_segment", Kind: "enum", Fill: 40}, {Name: longName(), Kind: "text"}}})},
			{"a value of 64 KB", func(s *Simulator) error {
				_, err := s.Change("contacts", Change{IDs: s.stores["contacts"].some(s, live, 1), Properties: map[string]*string{longName(): &huge}})
				return err
			}},
			{"a calculated property has new values in half of the records", properties("contacts", PropertyChange{Recalculate: []Recalculation{{Name: "hs_predictive_score", Share: 50}}})},
			{"a property is archived", properties("contacts", PropertyChange{Remove: []string{"zip"}})},
			{"a text property becomes a number", properties("contacts", PropertyChange{Retype: []Retype{{Name: "city", Kind: "number"}}})},
			{"a property becomes sensitive", properties("contacts", PropertyChange{Sensitive: map[string]string{"phone": "sensitive"}})},
			{"the archived one comes back", properties("contacts", PropertyChange{Restore: []string{"zip"}})},
		},
	}
}

func storms() Scenario {
	storm := func(n int, one bool) func(*Simulator) error {
		return func(s *Simulator) error {
			c := AssociationChange{Storm: n}
			if ids := s.stores["contacts"].some(s, live, 1); one && len(ids) > 0 {
				c.StormFrom = ids[0]
			}
			_, _, err := s.ChangeAssociations("contacts", "companies", c)
			return err
		}
	}
	return Scenario{
		Name: "storms", About: "thousands of associations are made and ended, some all of one record",
		prepare: func(o *Options) { o.grow(800, "contacts", "companies"); o.link(1.2, "contacts-companies") },
		steps: []step{
			{"3,000 associations between drawn records", storm(3000, false)},
			{"3,000 of one record", storm(3000, true)},
			{"a thousand associations end", func(s *Simulator) error {
				all := s.TruthAssociations("contacts", "companies")
				c := AssociationChange{}
				for _, a := range all[:min(1000, len(all))] {
					c.Dissociate = append(c.Dissociate, Link{From: a.From, To: a.To})
				}
				_, _, err := s.ChangeAssociations("contacts", "companies", c)
				return err
			}},
		},
	}
}

func lateness() Scenario {
	return Scenario{
		Name: "lateness", About: "search is late, batch read has replicas that lag, and some records search never shows",
		prepare: func(o *Options) {
			o.grow(400, "contacts")
			o.SearchLateness, o.StaleReads, o.StaleFor, o.SearchNever = max(o.SearchLateness, 5*time.Second), 0.2, 3*time.Second, 0.01
		},
		steps: []step{
			{"200 contacts change", func(s *Simulator) error { _, err := s.Change("contacts", Change{Change: 200}); return err }},
			{"50 are made, which search sees when it sees them", func(s *Simulator) error { _, err := s.Change("contacts", Change{Create: 50}); return err }},
			{"search loses sight of five", func(s *Simulator) error {
				_, err := s.Change("contacts", Change{Hide: s.stores["contacts"].some(s, live, 5)})
				return err
			}},
		},
	}
}

func flaky() Scenario {
	return Scenario{
		Name: "flaky", About: "requests fail in every way, and replies are short though there is more",
		prepare: func(o *Options) {
			o.grow(400, "contacts")
			o.FaultRate, o.ShortPages, o.Missing = max(o.FaultRate, 0.05), 0.3, MissingSilent
		},
		steps: []step{{"100 contacts change", func(s *Simulator) error { _, err := s.Change("contacts", Change{Change: 100}); return err }}},
	}
}

func credentials() Scenario {
	set := func(f func(*switches)) func(*Simulator) error {
		return func(s *Simulator) error { s.change(f); return nil }
	}
	day := func(left func(*Simulator) int) func(*Simulator) error {
		return func(s *Simulator) error { s.setDailyRemaining(left(s)); return nil }
	}
	return Scenario{
		Name: "credentials", About: "the token ends, a scope is taken away, the day's requests are spent; each is mended",
		Midnight: true,
		prepare:  func(o *Options) { o.grow(100, "contacts", "deals") },
		steps: []step{
			{"the token is refused", set(func(w *switches) { w.unauthorized = true })},
			{"the token is good again", set(func(w *switches) { w.unauthorized = false })},
			{"deals lack their scope", set(func(w *switches) { w.scopesMissing = map[string][]string{"deals": {"crm.objects.deals.read"}} })},
			{"deals have it again", set(func(w *switches) { w.scopesMissing = nil })},
			{"the day's requests are spent", day(func(*Simulator) int { return 0 })},
			{"a new day", day(func(s *Simulator) int { return s.o.Daily })},
		},
	}
}

// resplit changes how deals are shared.
func resplit(s *Simulator) error {
	there := s.set("deal_splits").liveIDs()
	_, err := s.ChangeSet("deal_splits", SetChange{Create: 5, Change: min(5, len(there)), Delete: there[:min(5, len(there))]})
	return err
}

// everything has all objects, all sets, and what the others do, in turns.
// Bulk edits, lateness, failures and credentials are left to them: they change
// how long it takes, not what there is.
func everything(all []Scenario) Scenario {
	out := Scenario{Name: "everything", About: "all objects, two of the portal's own, associations, deal splits, and what merges, bin, definitions and storms do"}
	var of []Scenario
	for _, sc := range all {
		switch sc.Name {
		case "merges", "bin", "definitions", "storms":
			of = append(of, sc)
			out.setup = append(out.setup, sc.setup...)
		}
	}
	out.prepare = func(o *Options) {
		o.grow(40, Objects()...)
		o.grow(60, "p_cars", "p_contacts")
		o.link(1, "deals-contacts", "deals-companies", "tickets-contacts", "p_cars-contacts")
		for _, sc := range of {
			sc.prepare(o)
		}
	}
	for i := 0; ; i++ {
		n := len(out.steps)
		for _, sc := range of {
			if i < len(sc.steps) {
				out.steps = append(out.steps, sc.steps[i])
			}
		}
		if len(out.steps) == n {
			out.steps = append(out.steps, step{"deal splits are made, changed and taken away", resplit})
			return out
		}
	}
}
