package enginetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Row is a row of a table as text; what is null is not in it.
type Row map[string]string

// Seq is the place in the feed that a row is of.
func (x Row) Seq() int {
	n, _ := strconv.Atoi(x["_hubpipe_seq"])
	return n
}

// Newest is what a reader makes of rows of which each is a version of a record: the
// newest of each, by id.
func Newest(rows []Row) map[string]Row {
	out := map[string]Row{}
	for _, x := range rows {
		if was, ok := out[x["id"]]; !ok || x.Seq() >= was.Seq() {
			out[x["id"]] = x
		}
	}
	return out
}

// Once checks that no two rows have the same values in some columns.
func (r *Rig) Once(rows []Row, columns ...string) {
	r.t.Helper()
	seen := map[string]bool{}
	for _, x := range rows {
		var key []string
		for _, c := range columns {
			key = append(key, x[c])
		}
		text := fmt.Sprintf("%q", key)
		if seen[text] {
			r.t.Errorf("%v %s stands there twice", columns, text)
		}
		seen[text] = true
	}
}

// Same holds the rows of a stream's table, by id, against the store, value by value.
// Those of records that have ended may be missing where they are deleted.
func (r *Rig) Same(name string, got map[string]Row, deleted bool) {
	r.t.Helper()
	left := maps.Clone(got)
	if _, err := r.Src.Changes(r.t.Context(), name, 0, 0, func(rec *stream.Record) error {
		x := got[rec.ID]
		delete(left, rec.ID)
		if deleted && rec.State != stream.Live && x == nil {
			return nil
		}
		if x["_hubpipe_seq"] != fmt.Sprint(rec.Seq) || x["_hubpipe_state"] != string(rec.State) {
			r.t.Errorf("%s is %v in the table, %s at %d in the store", rec.ID, x, rec.State, rec.Seq)
		}
		var p map[string]string
		if len(rec.Properties) > 0 {
			if err := json.Unmarshal(rec.Properties, &p); err != nil {
				return err
			}
		}
		for k, v := range p {
			if x[k] != v {
				r.t.Errorf("%s of %s is %q in the table, %q in the store", k, rec.ID, x[k], v)
			}
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	for id := range left {
		r.t.Errorf("%s stands in the table alone", id)
	}
}

// Equal has the destination held against the store by itself.
func (r *Rig) Equal() {
	r.t.Helper()
	list, err := r.M.Check(r.t.Context(), r.Name)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := range list {
		if !list[i].Equal() {
			r.t.Errorf("%s differs: %+v", list[i].Stream, list[i])
		}
	}
}
