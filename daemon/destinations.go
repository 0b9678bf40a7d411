package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// startDestinations begins to copy to the warehouses of the configuration.
func (d *Daemon) startDestinations(_, own context.Context) error {
	m, err := destination.New(own, destination.Options{Source: &feed{Store: d.store, d: d, began: time.Now()},
		Path: filepath.Join(d.o.Config.DataDir, "destinations.json"), Salt: d.store.Salt, Logger: d.log.Named("destination"), Changed: d.events.wake})
	if err != nil {
		return err
	}
	d.destinations = m
	d.onClose("stop destinations", func(context.Context) error { m.Stop(); return nil })
	m.Set(destinationSpecs(d.o.Config)) //nolint:contextcheck // destinations live in the manager's
	d.background(own, "keep versions", d.keepVersions)
	return nil
}

// destinationSpecs is the configuration as destinations need it. What is
// configured otherwise begins anew; so a stream that comes or goes is part of
// the key.
func destinationSpecs(c *config.Config) []destination.Spec {
	out := make([]destination.Spec, 0, len(c.Destinations))
	for _, x := range c.Destinations {
		s := destination.Spec{Name: x.Name, Kind: x.Type, Blocked: x.Problem}
		key := []string{}
		for _, set := range settingsOfDestination(x) {
			key = append(key, set.name+"="+set.value)
		}
		for _, st := range c.Streams {
			if x.Follows(st.Name) {
				one := destination.Stream{Name: st.Name, Object: st.Object, Portal: st.Portal, Associations: len(st.Associations) > 0, History: len(st.History) > 0}
				if x.Versions {
					one.Versions = st.KeepVersions
				}
				s.Streams = append(s.Streams, one)
				key = append(key, fmt.Sprintf("%+v", one))
			}
		}
		s.Choice = choiceOf(x)
		s.Key = strings.Join(key, "\x00")
		switch f := x.Files; {
		case x.Iceberg != nil:
			s.Gather, s.Engine = x.Iceberg.FlushInterval, icebergEngine(x)
		case f != nil:
			s.Gather = f.FlushInterval
			s.Engine = files.New(files.Options{URL: x.URL.Reveal(), AccessKey: f.AccessKey.Reveal(), SecretKey: f.SecretKey.Reveal(), Format: f.Format,
				Delete: x.Deletes == config.DeletesDelete, Raw: x.Raw, SchemaChanges: x.SchemaChanges, FileSize: int64(f.FileSize), Compact: f.CompactInterval, Keep: f.Keep})
		default:
			s.Engine = postgres.New(postgres.Options{URL: x.URL.Reveal(), Schema: x.Schema, Delete: x.Deletes == config.DeletesDelete,
				SchemaChanges: x.SchemaChanges, Raw: x.Raw, Views: x.Views})
		}
		out = append(out, s)
	}
	return out
}

// choiceOf is what of the properties a destination gets.
func choiceOf(x config.Destination) destination.Choice {
	out := destination.Choice{Exclude: x.Exclude, Hash: x.Hash, Keep: x.PIIExcept}
	for _, t := range x.Truncate {
		out.Truncate = append(out.Truncate, destination.Truncation{Pattern: t.Pattern, Length: t.Length})
	}
	if x.PII != config.PIIKeep {
		out.Personal = x.PII
	}
	return out
}

// feed is the store as destinations read it.
type feed struct {
	*store.Store

	d     *Daemon
	began time.Time
}

func (f *feed) Changes(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error) {
	return f.Store.Changes(ctx, name, since, limit, f.d.shown.each(name, fn))
}

func (f *feed) Versions(ctx context.Context, name string, since uint64, limit int, fn func(*stream.Record) error) (uint64, error) {
	return f.Store.Versions(ctx, name, since, limit, f.d.shown.each(name, fn))
}

func (f *feed) Record(name, id string) (*stream.Record, error) {
	r, err := f.Store.Record(name, id)
	if err == nil {
		f.d.shown.of(name, r)
	}
	return r, err
}

// Definitions are those of the properties that are copied, none before they were
// first read.
func (f *feed) Definitions(name string) ([]stream.Property, error) {
	b, err := f.Schema(name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []stream.Property
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read the definitions of %s: %w", name, err)
	}
	return slices.DeleteFunc(list, func(p stream.Property) bool { return !f.d.shown.chooses(name, p.Name) }), nil
}

// As is the store as a destination gets the stream.
func (a dataAdapter) As(name, streamName string) (api.View, error) {
	src, err := a.destinations.View(name, streamName)
	return view{src}, err
}

// view is what a destination gets, with its definitions as the store has them.
type view struct{ destination.Source }

func (v view) Schema(name string) ([]byte, error) {
	list, err := v.Definitions(name)
	if err == nil && len(list) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("encode the definitions of %s: %w", name, err)
	}
	return out, nil
}

// Standing tells how a stream stands.
func (f *feed) Standing(ctx context.Context, name string) (out destination.Standing, err error) {
	err = f.d.ask(ctx, func(x *dispatch.Dispatcher, now time.Time) error {
		v, err := x.View(now, name)
		if err != nil {
			return err
		}
		st, s := f.d.status(v, now), v.Stream
		out = destination.Standing{Stream: name, Object: st.Object, Portal: st.Portal, State: st.State, LagSeconds: st.LagSeconds, ReconciledAt: s.ReportedAt}
		if st.CompleteUntil != nil {
			out.CompleteUntil = *st.CompleteUntil
		}
		for _, p := range x.Portals(now) {
			if p.Name == st.Portal {
				out.TimeZone, out.Currency = p.TimeZone, p.Currency
			}
		}
		out.Settled = v.Walk == nil && v.Incremental == nil && settledSince(s, f.began)
		return nil
	})
	return out, err
}

// settledSince tells whether nothing is owed of what was lost before a time. That
// comes back by an incremental run from the cursor as it was, which moves it when
// it ends well, and by a reconcile, which is owed until it does.
func settledSince(s *stream.Stream, began time.Time) bool {
	read := s.CursorAt
	if s.ReconciledAt.After(read) {
		read = s.ReconciledAt
	}
	return s.Backfilled && !s.ReconcileNow && !s.ReconcileOwed && s.Missing == 0 && s.LastStarted.After(began) && !read.Before(s.LastStarted)
}

// Destinations is how all destinations stand.
func (d *Daemon) Destinations(ctx context.Context) ([]client.Destination, error) {
	list := d.destinations.Status(ctx)
	out := make([]client.Destination, len(list))
	for i := range list {
		out[i] = destinationOf(&list[i])
	}
	return out, nil
}

// Destination is how one stands.
func (d *Daemon) Destination(ctx context.Context, name string) (client.Destination, error) {
	s, err := d.destinations.One(ctx, name)
	if err != nil {
		return client.Destination{}, err
	}
	return destinationOf(&s), nil
}

// PauseDestination keeps one from writing.
func (d *Daemon) PauseDestination(ctx context.Context, name string) (client.Destination, error) {
	if err := d.destinations.Pause(name); err != nil {
		return client.Destination{}, err
	}
	return d.Destination(ctx, name)
}

// ResumeDestination lets one go on.
func (d *Daemon) ResumeDestination(ctx context.Context, name string) (client.Destination, error) {
	if err := d.destinations.Resume(name); err != nil { //nolint:contextcheck // it goes on when the request has ended
		return client.Destination{}, err
	}
	return d.Destination(ctx, name)
}

// ResyncDestination has every row of a stream, or of all, written again.
func (d *Daemon) ResyncDestination(ctx context.Context, name, streamName string) (client.Destination, error) {
	if err := d.destinations.Resync(name, streamName); err != nil {
		return client.Destination{}, err
	}
	return d.Destination(ctx, name)
}

// CheckDestination holds one against the store.
func (d *Daemon) CheckDestination(ctx context.Context, name string) (client.DestinationCheck, error) {
	list, err := d.destinations.Check(ctx, name)
	out := client.DestinationCheck{Name: name, Equal: true, Streams: []client.DestinationChecked{}}
	for i := range list {
		c := &list[i]
		out.Equal = out.Equal && c.Equal()
		out.Streams = append(out.Streams, client.DestinationChecked{Stream: c.Stream, Table: c.Table, Equal: c.Equal(), Position: c.Position,
			Stored: c.Stored.Rows, Written: c.Written.Rows, StoredDigest: c.Stored.Digest, WrittenDigest: c.Written.Digest, Note: c.Note,
			Remarks: c.Remarks, Versions: checkedVersions(c.Versions)})
	}
	return out, err
}

func checkedVersions(v *destination.CheckedVersions) *client.DestinationCheckedVersions {
	if v == nil {
		return nil
	}
	out := &client.DestinationCheckedVersions{Table: v.Table, Equal: v.Equal(), Stored: v.Stored.Rows, Written: v.Written.Rows,
		StoredDigest: v.Stored.Digest, WrittenDigest: v.Written.Digest, StoredBefore: v.StoredBefore.Count(), WrittenBefore: v.WrittenBefore.Count(),
		EqualBefore: v.StoredBefore.Digest == v.WrittenBefore.Digest, Skipped: v.Skipped, Note: v.Note}
	if v.Before > out.WrittenBefore {
		out.Beyond = v.Before - out.WrittenBefore
	}
	return out
}

// pending are the destinations that may still have what stood in a record before
// a place in the feed.
func pending(list []destination.Status, streamName string, seq uint64) (names []string) {
	for i := range list {
		if slices.ContainsFunc(list[i].Streams, func(s destination.StreamStatus) bool { return s.Stream == streamName && s.Place.Cleared < seq }) {
			names = append(names, list[i].Name)
		}
	}
	return names
}

// DestinationTables is what the tables of one look like.
func (d *Daemon) DestinationTables(ctx context.Context, name string) (client.DestinationTables, error) {
	st, err := d.destinations.One(ctx, name)
	if err != nil {
		return client.DestinationTables{}, err
	}
	where, list, err := d.destinations.Tables(ctx, name)
	out := client.DestinationTables{Name: st.Name, Kind: st.Kind, Database: where.Database, Schema: where.Schema, Location: where.Location}
	for _, x := range list {
		t := client.DestinationTable{Stream: x.Stream, Object: x.Object, Table: x.Table, Associations: x.Associations, History: x.History, Versions: x.Versions, Columns: []client.DestinationColumn{}}
		for _, c := range x.Columns {
			t.Columns = append(t.Columns, client.DestinationColumn(c))
		}
		out.Tables = append(out.Tables, t)
	}
	return out, err
}

// destinationOf is a destination as it travels.
func destinationOf(s *destination.Status) client.Destination {
	out := client.Destination{Name: s.Name, Kind: s.Kind, Target: s.Target, State: s.State, Streams: []client.DestinationStream{},
		Behind: s.Behind, RowsWritten: s.Rows, LastCommit: api.TimeOf(s.LastCommit), Error: api.ProblemOf(s.Error),
		NextTry: api.TimeOf(s.NextTry), Failures: s.Failures}
	if s.Reached {
		lag := int64(s.Lag / time.Second)
		out.LagSeconds = &lag
	}
	for _, x := range s.Streams {
		one := client.DestinationStream{Stream: x.Stream, Table: cmp.Or(x.Place.Table, x.Stream), Position: x.Place.Position, Head: x.Head,
			Behind: x.Behind, RowsWritten: x.Place.Rows, LastCommit: api.TimeOf(x.Place.LastCommit), Unparsed: x.Place.Unparsed,
			VersionsLost: x.Lost, Error: api.ProblemOf(x.Error), Untidy: api.ProblemOf(x.Place.Untidy)}
		if r := x.Place.Reread; r != nil {
			one.Reread = &client.Reread{Reason: r.Reason, Position: r.Position, Until: r.Until, Anew: r.Anew, Why: r.Why}
		}
		out.Streams = append(out.Streams, one)
	}
	return out
}

// destinationThing is a destination. Figures that move by themselves are no
// change to it; what is written is, told by the second of the last commit.
func destinationThing(c client.Destination) thing {
	same := c
	same.LagSeconds, same.Behind, same.RowsWritten = nil, 0, 0
	same.LastCommit = toSecond(c.LastCommit)
	same.Streams = make([]client.DestinationStream, len(c.Streams))
	for i, s := range c.Streams {
		same.Streams[i] = client.DestinationStream{Stream: s.Stream, Table: s.Table, Unparsed: s.Unparsed, VersionsLost: s.VersionsLost, Error: s.Error, Untidy: s.Untidy}
		if s.Reread != nil {
			same.Streams[i].Reread = &client.Reread{Reason: s.Reread.Reason, Anew: s.Reread.Anew, Why: s.Reread.Why}
		}
	}
	return thing{kind: client.EventDestination, name: c.Name, value: c, same: same}
}

func toSecond(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	s := t.Truncate(time.Second)
	return &s
}
