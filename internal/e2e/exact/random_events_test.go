package exact

import (
	"fmt"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// weights say how often each kind of event is drawn.
func weights() map[string]int {
	return map[string]int{"change": 30, "create": 14, "merge": 8, "archive": 8, "restore": 6, "purge": 4, "erase": 2,
		"associate": 7, "part": 4, "define": 4, "recalculate": 2, "worker": 3, "daemon": 1, "weather": 5, "bulk": 1}
}

func kindsOfEvent() []string {
	var kinds []string
	for k := range weights() {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}

// draw draws what happens next; what only a reconcile can find is left out
// where there is none.
func (w *world) draw() string {
	for {
		kinds, all := kindsOfEvent(), weights()
		sum := 0
		for _, k := range kinds {
			sum += all[k]
		}
		at := w.rng.IntN(sum)
		for _, k := range kinds {
			if at -= all[k]; at >= 0 {
				continue
			}
			switch k {
			case "purge", "erase", "define", "recalculate":
				if w.mended {
					return k
				}
			case "bulk":
				if w.bulk {
					return k
				}
			default:
				return k
			}
			break
		}
	}
}

// event does it.
func (w *world) event(what string) error {
	object := w.objects[w.rng.IntN(len(w.objects))]
	c := simulator.Change{}
	switch what {
	case "change":
		c.Change = 1 + w.rng.IntN(40)
		if w.rng.IntN(3) == 0 {
			c.At = time.Now().UnixMilli() // all in one millisecond
		}
	case "bulk":
		object = "contacts"
		c.Change, c.At = 10400, time.Now().UnixMilli()
	case "create":
		c.Create = 1 + w.rng.IntN(12)
	case "archive":
		c.Archive = w.some(object, "live", 1+w.rng.IntN(6))
	case "restore":
		c.Restore = w.some(object, "archived", 1+w.rng.IntN(4))
	case "purge":
		c.Delete = w.some(object, "archived", 1+w.rng.IntN(3))
	case "erase":
		c.Delete = w.some(object, "live", 1+w.rng.IntN(2))
	case "merge":
		return w.merge(object)
	case "associate", "part":
		return w.relate(what)
	case "define", "recalculate":
		return w.define(object, what)
	case "weather":
		w.weather()
		return nil
	default:
		w.restart(what)
		return nil
	}
	_, err := w.sim.Change(object, c)
	return err
}

// merge merges two or three records, in both ways. Without a reconcile nobody
// has part in two merges: who was merged away before it was read again has not
// said whom it had taken in.
func (w *world) merge(object string) error {
	ids := w.some(object, "live", 2+w.rng.IntN(2))
	if !w.mended {
		ids = w.fresh(ids)
	}
	if len(ids) < 2 {
		return nil
	}
	touched, err := w.sim.Change(object, simulator.Change{Merge: []simulator.Merge{{Into: ids[0], From: ids[1:], NewID: w.rng.IntN(2) == 0}}})
	for _, id := range touched {
		w.merged[id] = true
	}
	return err
}

func (w *world) relate(what string) error {
	pair := [][2]string{{"deals", "contacts"}, {"contacts", "companies"}}[w.rng.IntN(2)]
	c := simulator.AssociationChange{}
	if what == "associate" {
		from, to := w.some(pair[0], "live", 2), w.some(pair[1], "live", 8)
		for i := range to {
			c.Associate = append(c.Associate, simulator.Link{From: from[i%len(from)], To: to[i]})
		}
	} else {
		all := w.sim.TruthAssociations(pair[0], pair[1])
		for range min(len(all), 4) {
			a := all[w.rng.IntN(len(all))]
			c.Dissociate = append(c.Dissociate, simulator.Link{From: a.From, To: a.To})
		}
	}
	_, _, err := w.sim.ChangeAssociations(pair[0], pair[1], c)
	return err
}

// define changes definitions: of what the seed has added itself, so that
// whatever is asked for exists.
func (w *world) define(object, what string) error {
	c := simulator.PropertyChange{}
	name := func(n int) string { return fmt.Sprintf("drawn_%d", n) }
	if w.added == 0 || what == "define" && w.rng.IntN(2) == 0 {
		w.added++
		for _, o := range w.objects {
			add := simulator.NewProperty{Name: name(w.added), Kind: []string{"text", "number", "enum", "days"}[w.rng.IntN(4)], Fill: uint64(w.rng.IntN(100))}
			if w.rng.IntN(2) == 0 && add.Kind != "days" {
				add.Calculated = true
				w.counted[o] = append(w.counted[o], add.Name)
			}
			if err := w.sim.ChangeProperties(o, simulator.PropertyChange{Add: []simulator.NewProperty{add}}); err != nil {
				return err
			}
		}
		return nil
	}
	n := name(1 + w.rng.IntN(w.added))
	switch {
	case what == "recalculate":
		// What is not calculated never changes without its record.
		share := uint64(1 + w.rng.IntN(100))
		if all := w.counted[object]; !slices.Contains(all, n) {
			if len(all) == 0 {
				return nil
			}
			n = all[w.added%len(all)]
		}
		c.Recalculate = []simulator.Recalculation{{Name: n, Share: share}}
	case w.rng.IntN(3) == 0:
		c.Remove = []string{n}
	case w.rng.IntN(2) == 0:
		c.Restore = []string{n}
	default:
		c.Retype = []simulator.Retype{{Name: n, Kind: "number"}}
	}
	return w.sim.ChangeProperties(object, c)
}

// weather changes how HubSpot is to be reached.
func (w *world) weather() {
	w.turn(fmt.Sprintf(`{"rate":%.3f,"stale_reads":%.3f,"short_pages":%.3f,"search_lateness":"%dms","latency":"%dms"}`,
		w.upTo(0.3), w.upTo(0.3), w.upTo(0.5), w.rng.IntN(5500), w.rng.IntN(30)))
}

// restart ends a process, or begins it again.
func (w *world) restart(what string) {
	switch {
	case what == "daemon":
		w.stopDaemon()
		w.startDaemon()
	case w.down:
		w.startWorker()
		w.down = false
	default:
		w.stopWorker()
		if w.down = w.rng.IntN(2) == 0; !w.down {
			w.startWorker()
		}
	}
}
