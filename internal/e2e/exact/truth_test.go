package exact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// stored is a stream's change feed, each record once, which is all there is.
func (r *rig) stored(stream string) (map[string]client.Record, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience())
	defer cancel()
	feed := map[string]client.Record{}
	last := uint64(0)
	for rec, err := range r.api.Changes(ctx, stream, client.ChangeQuery{}) {
		if err != nil {
			return nil, err
		}
		if rec.Seq <= last {
			return nil, fmt.Errorf("position %d follows %d", rec.Seq, last)
		}
		last = rec.Seq
		if _, twice := feed[rec.ID]; twice {
			return nil, fmt.Errorf("record %s stands twice in the feed", rec.ID)
		}
		feed[rec.ID] = rec
	}
	return feed, nil
}

// indexed holds the feed against the table by ids: neither has what the other lacks.
func (r *rig) indexed(stream string) error {
	feed, err := r.stored(stream)
	if err != nil {
		return err
	}
	for rec, err := range r.api.AllRecords(r.t.Context(), stream, client.RecordQuery{Limit: 1000, States: []string{"all"}}) {
		if err != nil {
			return err
		}
		if feed[rec.ID].Seq != rec.Seq {
			return fmt.Errorf("record %s is at %d, in the feed at %d", rec.ID, rec.Seq, feed[rec.ID].Seq)
		}
		delete(feed, rec.ID)
	}
	if len(feed) > 0 {
		return fmt.Errorf("the feed has %d records that are not found by id", len(feed))
	}
	return nil
}

// position is the greatest of a stream's feed.
func (r *rig) position(stream string) uint64 {
	r.t.Helper()
	feed, err := r.stored(stream)
	if err != nil {
		r.t.Fatal(err)
	}
	top := uint64(0)
	for _, rec := range feed {
		top = max(top, rec.Seq)
	}
	return top
}

// equal holds a stream against the truth of its object: states, contents but
// for what drifts, and nothing besides. What HubSpot calculates counts where a
// reconcile has held it, of live records: of those in the recycle bin it lists
// ids and times alone. Those named in except are left out.
func (r *rig) equal(stream string, except ...string) error {
	return r.same(stream, stream, except...)
}

func (r *rig) same(stream, object string, except ...string) error {
	// The truth first: what is stored later is not older.
	truth := r.sim.Truth(object)
	stored, err := r.stored(stream)
	if err != nil {
		return err
	}
	calculated, volatile := r.sim.Drifting(object)
	for _, id := range except {
		delete(stored, id)
	}
	byID := make(map[string]simulator.Object, len(truth))
	for _, o := range truth {
		byID[o.ID] = o
	}
	var wrong []error
	for _, want := range truth {
		if slices.Contains(except, want.ID) {
			continue
		}
		got, ok := stored[want.ID]
		delete(stored, want.ID)
		drifting := volatile
		if !r.recalculated || want.State != "live" {
			drifting = slices.Concat(calculated, volatile)
		}
		if err := differs(byID, want, got, ok, drifting); err != nil {
			wrong = append(wrong, fmt.Errorf("%s %s: %w", stream, want.ID, err))
		}
	}
	for id := range stored {
		wrong = append(wrong, fmt.Errorf("%s %s is stored and was never there", stream, id))
	}
	if n := len(wrong); n > 5 {
		wrong = append(wrong[:5], fmt.Errorf("and %d more", n-5))
	}
	return errors.Join(wrong...)
}

// differs says how a stored record is not what it should be. Who ended before
// anybody saw it need not be known.
func differs(all map[string]simulator.Object, want simulator.Object, got client.Record, ok bool, drifting []string) error {
	into := want.ID
	for all[into].State == "merged" {
		into = all[into].MergedInto
	}
	switch {
	case !ok && (want.State == "purged" || want.State == "merged"):
		return nil
	case !ok:
		return fmt.Errorf("missing, %s in truth since %s", want.State, want.UpdatedAt)
	case want.State == "merged" && all[into].State == "purged" && got.State == "purged":
		return nil // nobody is left who could tell
	case got.State != want.State:
		return fmt.Errorf("%s, in truth %s since %s", got.State, want.State, want.UpdatedAt)
	case want.State == "merged" && (got.MergedInto == nil || *got.MergedInto != into):
		return fmt.Errorf("merged into %v, in truth into %s", text(got.MergedInto), into)
	case want.State == "merged" || want.State == "purged":
		if p := string(got.Properties); p != "null" && p != "{}" && p != "" {
			return fmt.Errorf("%s and has properties: %.100s", got.State, p)
		}
		return nil
	case want.ArchivedAt != nil && !moment(got.ArchivedAt).Equal(*want.ArchivedAt):
		return fmt.Errorf("archived at %s, in truth at %s", text(got.ArchivedAt), want.ArchivedAt)
	case !moment(got.UpdatedAt).Equal(want.UpdatedAt):
		return fmt.Errorf("of %s, in truth of %s", text(got.UpdatedAt), want.UpdatedAt)
	}
	var properties map[string]*string
	if err := json.Unmarshal(got.Properties, &properties); err != nil {
		return err
	}
	for p, v := range want.Properties {
		if have := properties[p]; text(have) != text(v) && !slices.Contains(drifting, p) {
			return fmt.Errorf("property %s is %.60q, in truth %.60q", p, text(have), text(v))
		}
	}
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func moment(s *string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, text(s)) // the zero time is equal to none
	return t
}

// linked holds the associations of a stream's live records with an object
// against the truth, their types included.
func (r *rig) linked(from, to string) error {
	want := map[string][]string{}
	for _, a := range r.sim.TruthAssociations(from, to) {
		for _, ty := range a.Types {
			want[a.From] = append(want[a.From], fmt.Sprintf("%s %s %d", a.To, ty.Category, ty.TypeID))
		}
	}
	stored, err := r.stored(from)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(stored)) {
		if stored[id].State != "live" {
			continue
		}
		var links map[string][]struct {
			ID    string
			Types []struct {
				Category string
				TypeID   int `json:"typeId"`
			}
		}
		if err := json.Unmarshal(stored[id].Associations, &links); err != nil {
			return fmt.Errorf("associations of %s %s: %w", from, id, err)
		}
		var got []string
		for _, l := range links[to] {
			for _, ty := range l.Types {
				got = append(got, fmt.Sprintf("%s %s %d", l.ID, ty.Category, ty.TypeID))
			}
		}
		slices.Sort(got)
		slices.Sort(want[id])
		if !slices.Equal(got, want[id]) {
			return fmt.Errorf("%s %s has associations\n%s\nin truth\n%s", from, id, strings.Join(got, ", "), strings.Join(want[id], ", "))
		}
	}
	return nil
}

// becomesEqual waits until streams equal the truth.
func (r *rig) becomesEqual(streams ...string) {
	r.t.Helper()
	for _, s := range streams {
		until(r.t, s+" equal the truth", func() error { return r.equal(s) })
	}
}

// complete waits until streams say that everything up to now is there.
func (r *rig) complete(streams ...string) {
	r.t.Helper()
	now := time.Now()
	for _, stream := range streams {
		until(r.t, stream+" complete", func() error {
			st, err := r.api.Stream(r.t.Context(), stream)
			if err == nil && (st.CompleteUntil == nil || st.CompleteUntil.Before(now)) {
				err = fmt.Errorf("complete until %v, it is past %s; %s, run %+v", st.CompleteUntil, now, st.State, st.Run)
			}
			return err
		})
	}
}

// settles waits until streams are complete and holds them to it at once.
func (r *rig) settles(streams ...string) {
	r.t.Helper()
	r.complete(streams...)
	for _, stream := range streams {
		if err := r.equal(stream); err != nil {
			r.t.Error(err)
		}
	}
}
