package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// explain says how what is stored of a record came to be there.
func (s *Server) explain(w http.ResponseWriter, r *http.Request, _ params) error {
	name, err := s.known(r)
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	rec, err := s.o.Data.Record(name, id)
	if err != nil {
		return s.noRecord(err, name, id)
	}
	out := client.Explanation{Stream: name, Record: rec.ID, Seq: rec.Seq, Head: s.o.Data.PositionOf(name), State: string(rec.State), Version: MillisOf(rec.Version), Read: MillisOf(rec.AsOf),
		Committed: MillisOf(rec.Synced), AssociationsRead: MillisOf(rec.AssociationsPart.AsOf), HistoryRead: MillisOf(rec.HistoryPart.AsOf),
		Runs: []client.Run{}, Destinations: []client.Explained{}}
	runs, err := s.o.Control.Runs(r.Context(), client.RunQuery{Stream: name, Limit: maxLimit})
	if err != nil {
		return err
	}
	// A run that is over ended with its last commit, at the latest.
	at := time.UnixMilli(rec.Synced)
	for _, run := range runs {
		if !at.Before(run.Started.Truncate(time.Millisecond)) && (run.Ended == nil || !at.After(*run.Ended)) {
			out.Runs = append(out.Runs, run)
		}
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
