package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// explain says how what is stored of a record came to be there.
func (s *Server) explain(w http.ResponseWriter, r *http.Request, _ params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	heads, err := s.o.Data.VersionsOf(r.Context(), name, id, maxVersions)
	if err != nil {
		return s.noRecord(err, name, id)
	}
	rec := &heads[0]
	out := client.Explanation{Stream: name, Record: rec.ID, Seq: rec.Seq, Head: s.o.Data.PositionOf(name), State: string(rec.State), Version: MillisOf(rec.Version), Read: MillisOf(rec.AsOf),
		Committed: MillisOf(rec.Synced), AssociationsRead: MillisOf(rec.AssociationsPart.AsOf), HistoryRead: MillisOf(rec.HistoryPart.AsOf),
		MergedInto: orNull(rec.MergedInto), Versions: make([]client.ExplainedVersion, 0, len(heads)), Destinations: []client.Explained{}}
	runs := map[string]*client.Run{}
	for i := range heads {
		v, err := s.version(r.Context(), &heads[i], runs)
		if err != nil {
			return err
		}
		out.Versions = append(out.Versions, v)
	}
	all, err := s.o.Control.Destinations(r.Context())
	if err != nil {
		return err
	}
	for i := range all {
		j := slices.IndexFunc(all[i].Streams, func(x client.DestinationStream) bool { return x.Stream == name })
		if j >= 0 {
			x := &all[i].Streams[j]
			out.Destinations = append(out.Destinations, client.Explained{Destination: all[i].Name, Table: x.Table, Position: x.Position, Written: x.Position >= rec.Seq})
		}
	}
	s.reply(w, r, http.StatusOK, out)
	return nil
}

// maxVersions is how many versions of a record are explained.
const maxVersions = 100

// version says how a version came; runs are those that were looked up already.
func (s *Server) version(ctx context.Context, h *stream.Head, runs map[string]*client.Run) (client.ExplainedVersion, error) {
	v := client.ExplainedVersion{Seq: h.Seq, State: string(h.State), Version: MillisOf(h.Version), Read: MillisOf(h.AsOf), Committed: MillisOf(h.Synced)}
	v.Road, v.RunID = orNull(string(h.By.Road)), orNull(h.By.Run)
	v.PropertiesRoad, v.PropertiesRunID = orNull(string(h.ReadBy.Road)), orNull(h.ReadBy.Run)
	id := h.By.Run
	if id == "" {
		return v, nil
	}
	run, known := runs[id]
	if !known {
		switch r, err := s.o.Control.Run(ctx, id); {
		case err == nil:
			run = &r
		case !s.notFound(err):
			return v, err
		}
		runs[id] = run
	}
	v.Run = run
	return v, nil
}

// orNull is a text, nil where it is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
