package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// splitSet are the shares that users have in deals.
func splitSet() setSpec {
	return setSpec{
		name: "deal_splits", paths: []string{"deal-splits/2026-09/batch/read"}, results: "results", post: true,
		key: "id", records: "deals", size: 2, time: "updatedAt", mutable: "properties.hs_deal_split_percentage",
		make: func(i int, h uint64, deal string) fields {
			return fields{"dealId": deal, "id": num(i), "properties": fields{"hs_deal_split_percentage": strconv.FormatUint(h%100, 10), "hubspot_owner_id": num(int(h % 100))}}
		},
		answer: (*call).splits,
	}
}

// splits answers for up to a hundred deals: each with what it has, be it
// nothing, and an error for those that are not there.
func (c *call) splits(st *set, _ string) {
	body, ok := c.body()
	if !ok {
		return
	}
	var in struct {
		Inputs []struct {
			ID string `json:"id"`
		} `json:"inputs"`
	}
	err := json.Unmarshal(body, &in)
	switch {
	case err != nil:
		c.invalid("Invalid input JSON on line 1: " + err.Error())
		return
	case len(in.Inputs) == 0 || slices.ContainsFunc(in.Inputs, func(one struct {
		ID string `json:"id"`
	}) bool {
		return one.ID == ""
	}):
		c.invalid("Invalid input JSON on line 1: inputs with an id each are required")
		return
	case len(in.Inputs) > maxBatch:
		c.invalid("The maximum number of inputs supported is 100")
		return
	}
	of := map[string][]fields{}
	st.mu.RLock()
	for _, r := range st.rows {
		if r.state == live {
			of[r.parent] = append(of[r.parent], without(r.fields, "dealId"))
		}
	}
	st.mu.RUnlock()
	deals := c.s.stores["deals"]
	results, errs := []fields{}, []fields{}
	for _, one := range in.Inputs {
		if _, state := deals.stateOf(one.ID); state != live {
			errs = append(errs, fields{"status": "error", "category": "OBJECT_NOT_FOUND", "message": fmt.Sprintf("Could not find deal with id %q", one.ID),
				"context": fields{"ids": []string{one.ID}}})
			continue
		}
		results = append(results, fields{"id": one.ID, "splits": append([]fields{}, of[one.ID]...)})
	}
	at := string(appendTime(nil, c.now.UnixMilli()))
	out := fields{"status": "COMPLETE", "results": results, "startedAt": at, "completedAt": at}
	status := 200
	if len(errs) > 0 && c.sw.missing != MissingSilent {
		out["numErrors"], out["errors"] = len(errs), errs
		if c.sw.missing == MissingAs207 {
			status = 207
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		c.fail(500, "", "internal error", "")
		return
	}
	c.reply(status, b)
}

// recordIDs are the ids of an object's live records, in order.
func (s *Simulator) recordIDs(object string) []string {
	st := s.stores[object]
	if st == nil {
		return nil
	}
	var ids []string
	for _, id := range st.liveIDs() {
		ids = append(ids, strconv.FormatUint(id, 10))
	}
	return ids
}
