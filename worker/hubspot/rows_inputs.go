package hubspot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// ErrTooMany says that several inputs have more rows together than fit in
// memory: fewer of them may do.
var ErrTooMany = errors.New("there are more rows than are read at once")

// maxTogether bounds the rows of one request's inputs.
const maxTogether = 500_000

// input is a parent in the body of a request, and the place in what belongs to
// it.
type input struct{ id, after string }

// rowsOfInputs reads all that several parents have: HubSpot pages what belongs
// to each of them, and those that have more are asked for again until none is
// left. Rows of one name become one.
func (c *Client) rowsOfInputs(ctx context.Context, obj catalogue.Object, a catalogue.Address, r RowsRequest) (RowsPage, error) {
	left := make([]input, len(r.Inputs))
	for i, id := range r.Inputs {
		left[i].id = id
	}
	var all RowsPage
	for seen := map[input]bool{}; len(left) > 0; {
		p, more, err := c.rowsOnce(ctx, obj, a, r, left)
		if errors.Is(err, errTooLarge) && len(left) > 1 {
			return RowsPage{}, ErrTooMany
		}
		if err != nil {
			return RowsPage{}, err
		}
		if all.AsOf == 0 {
			all.AsOf = p.AsOf
		}
		all.Rows, all.Unnamed, all.Unread = append(all.Rows, p.Rows...), all.Unnamed+p.Unnamed, append(all.Unread, p.Unread...)
		if len(all.Rows) > maxTogether {
			return RowsPage{}, ErrTooMany
		}
		for _, in := range more {
			if seen[in] {
				return RowsPage{}, &Failing{Detail: fmt.Sprintf("HubSpot's %s of %s lead back to a place: reading on would never end", obj.Name, in.id)}
			}
		}
		for _, in := range more {
			seen[in] = true
		}
		left = more
	}
	if obj.Endpoint.Union != "" {
		rd := rowReading{e: obj.Endpoint, address: a, parent: r.name()}
		all.Rows = rd.unite(all.Rows)
	}
	return all, nil
}

// inputsBody are inputs as an endpoint takes them.
func inputsBody(e catalogue.Endpoint, inputs []input) []any {
	out := make([]any, len(inputs))
	for i, in := range inputs {
		switch {
		case e.InputField == "":
			out[i] = in.id
		case in.after != "":
			out[i] = map[string]string{e.InputField: in.id, "after": in.after}
		default:
			out[i] = map[string]string{e.InputField: in.id}
		}
	}
	return out
}

// further are the inputs of which there is more than a reply has, each with the
// place that HubSpot named, unchanged.
func (r *rowReading) further(objects [][]byte) (more []input) {
	if r.address.Paging != catalogue.PagingInput {
		return nil
	}
	for _, o := range objects {
		place := after(member(o, "paging"))
		if place == "" {
			continue
		}
		more = append(more, input{id: text(r.at(fields(o), r.e.InputPath)), after: place})
	}
	return more
}

// asked leaves out the results that belong to no input.
func (r *rowReading) asked(objects [][]byte) [][]byte {
	if r.e.InputPath == "" {
		return objects
	}
	known := make(map[string]bool, len(r.inputs))
	for _, in := range r.inputs {
		known[in.id] = true
	}
	return slices.DeleteFunc(objects, func(o []byte) bool { return !known[text(r.at(fields(o), r.e.InputPath))] })
}

// untold are those of the ids asked for, for which HubSpot answers with an error
// other than that there is nothing. Where an error does not say for which, all
// are.
func untold(body []byte, ids []string) []string {
	var out []string
	for _, raw := range elements(member(body, "errors")) {
		var e struct {
			Category    string                     `json:"category"`
			SubCategory any                        `json:"subCategory"`
			Context     map[string]json.RawMessage `json:"context"`
		}
		_ = json.Unmarshal(raw, &e) // what cannot be read names nobody
		sub, _ := e.SubCategory.(string)
		if e.Category == "OBJECT_NOT_FOUND" || strings.HasSuffix(sub, "NO_ASSOCIATIONS_FOUND") {
			continue
		}
		named := map[string]bool{}
		for _, value := range e.Context {
			var some []string
			_ = json.Unmarshal(value, &some) // another form names nobody
			for _, id := range some {
				named[id] = true
			}
		}
		n := len(out)
		for _, id := range ids {
			if named[id] {
				out = append(out, id)
			}
		}
		if len(out) == n {
			return ids
		}
	}
	return out
}

func inputIDs(inputs []input) []string {
	out := make([]string, len(inputs))
	for i, in := range inputs {
		out[i] = in.id
	}
	return out
}

// around are the members of a row that do not come from the element of its
// object that the row is made of.
func (r *rowReading) around(object, element []byte) []field {
	all := fields(object)
	if len(r.e.Around) == 0 {
		return slices.DeleteFunc(all, func(f field) bool { return f.name == r.e.Parts })
	}
	from, to, _ := strings.Cut(r.parent, "/")
	out := make([]field, 0, len(r.e.Around))
	for _, m := range r.e.Around {
		var value string
		switch rest, inside := strings.CutPrefix(m.Value, r.e.Parts+"."); {
		case m.Value == "{from}":
			value = from
		case m.Value == "{to}":
			value = to
		case inside:
			value = text(member(element, rest))
		default:
			value = text(r.at(all, m.Value))
		}
		if value != "" {
			out = append(out, field{m.Name, quoted(value)})
		}
	}
	return out
}

// inOneOrder is the array of Union with its elements in the order of what names
// them, each once.
func (r *rowReading) inOneOrder(arrays ...[]byte) []byte {
	type named struct {
		key []string
		raw []byte
	}
	var all []named
	for _, array := range arrays {
		for _, e := range elements(array) {
			key := make([]string, len(r.e.UnionKey))
			for i, name := range r.e.UnionKey {
				key[i] = text(member(e, name))
			}
			all = append(all, named{key, e})
		}
	}
	slices.SortStableFunc(all, func(x, y named) int { return slices.CompareFunc(x.key, y.key, byNumber) })
	all = slices.CompactFunc(all, func(x, y named) bool { return slices.Equal(x.key, y.key) })
	b := []byte{'['}
	for i, e := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e.raw...)
	}
	return append(b, ']')
}

// byNumber compares numbers as numbers, and all else as text.
func byNumber(x, y string) int {
	n, notN := strconv.ParseInt(x, 10, 64)
	m, notM := strconv.ParseInt(y, 10, 64)
	if notN == nil && notM == nil {
		return cmp.Compare(n, m)
	}
	return cmp.Compare(x, y)
}

// unite makes one row of those that have one name.
func (r *rowReading) unite(rows []Record) []Record {
	at := make(map[string]int, len(rows))
	out := rows[:0]
	for _, rec := range rows {
		i, twice := at[rec.ID]
		if !twice {
			at[rec.ID] = len(out)
			out = append(out, rec)
			continue
		}
		b := []byte{'{'}
		for _, f := range fields(out[i].Properties) {
			if f.name == r.e.Union {
				f.value = r.inOneOrder(f.value, member(rec.Properties, r.e.Union))
			}
			b = appendField(b, f)
		}
		r.asOf = out[i].AsOf
		if one, ok := r.row(append(b, '}')); ok {
			out[i] = one
		}
	}
	return out
}
