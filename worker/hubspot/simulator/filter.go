package simulator

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// test is a filter made ready.
type test struct {
	prop   int
	op     string
	class  class
	value  operand
	high   operand
	values []operand
}

// class is how a property's values compare.
type class int

const (
	asText class = iota
	asExact
	asNumber
	asMoment
)

type operand struct {
	text   string
	number float64
	moment int64
}

func classOf(k kind) class {
	switch typ, _ := k.wire(); typ {
	case "number":
		return asNumber
	case "date", "datetime":
		return asMoment
	case "enumeration", "bool":
		return asExact
	}
	return asText
}

// filters makes the groups ready. A status other than 0 refuses them.
func (sc *schema) filters(in searchBody) (groups [][]test, status int, message string) {
	bodies := in.Groups
	if len(in.Filters) > 0 {
		bodies = append(bodies, groupBody{in.Filters})
	}
	if len(bodies) > maxGroups {
		return nil, 400, fmt.Sprintf("There are too many filterGroups: %d of at most %d", len(bodies), maxGroups)
	}
	n := 0
	for _, g := range bodies {
		if len(g.Filters) > maxGroupFilters {
			return nil, 400, fmt.Sprintf("There are too many filters in a group: %d of at most %d", len(g.Filters), maxGroupFilters)
		}
		if n += len(g.Filters); n > maxFilters {
			return nil, 400, fmt.Sprintf("There are too many filters: more than %d", maxFilters)
		}
		tests := make([]test, 0, len(g.Filters))
		for _, f := range g.Filters {
			t, status, message := sc.filter(f)
			if status != 0 {
				return nil, status, message
			}
			tests = append(tests, t)
		}
		groups = append(groups, tests)
	}
	return groups, 0, ""
}

func (sc *schema) filter(f filterBody) (t test, status int, message string) {
	i, ok := sc.index[f.Property]
	if !ok {
		return t, 400, "There was a problem with the request: unknown property " + f.Property
	}
	t = test{prop: i, op: f.Operator, class: classOf(sc.props[i].shown)}
	take := func(to *operand, v string) {
		o, code, text := t.class.parse(v)
		*to = o
		if code != 0 && status == 0 {
			status, message = code, text+" for "+f.Property
		}
	}
	switch f.Operator {
	case "HAS_PROPERTY", "NOT_HAS_PROPERTY":
	case "EQ", "NEQ", "LT", "LTE", "GT", "GTE":
		take(&t.value, f.Value)
	case "BETWEEN":
		take(&t.value, f.Value)
		take(&t.high, f.High)
	case "IN", "NOT_IN":
		if len(f.Values) == 0 {
			return t, 400, "values are required by " + f.Operator
		}
		t.values = make([]operand, len(f.Values))
		for j, v := range f.Values {
			take(&t.values[j], v)
		}
	default:
		return t, 400, "operator is not supported: " + f.Operator
	}
	return t, status, message
}

// parse reads a filter's value. HubSpot fails on times at the epoch.
func (c class) parse(v string) (o operand, status int, message string) {
	if v == "" {
		return o, 400, "a value is required"
	}
	var err error
	switch c {
	case asMoment:
		var ok bool
		if o.moment, ok = parseMoment(v); !ok {
			return o, 400, "not a time: " + v
		}
		if o.moment == 0 {
			return o, 500, "internal error"
		}
	case asNumber:
		if o.number, err = strconv.ParseFloat(v, 64); err != nil {
			return o, 400, "not a number: " + v
		}
	case asText:
		o.text = strings.ToLower(v)
	case asExact:
		o.text = v
	}
	return o, 0, ""
}

// holds says whether a record's version passes.
func (t *test) holds(sc *schema, r *record, v *version) bool {
	switch t.prop {
	case 0: // ids stay below what a float holds exactly
		return t.has(true, func(o operand) int { return cmp.Compare(float64(r.id), o.number) })
	case 1:
		return t.has(true, func(o operand) int { return cmp.Compare(r.created, o.moment) })
	case 2:
		return t.has(true, func(o operand) int { return cmp.Compare(v.at, o.moment) })
	}
	text := sc.text(r, v, t.prop)
	if text == nil || *text == "" {
		return t.has(false, nil)
	}
	switch t.class {
	case asNumber:
		n, err := strconv.ParseFloat(*text, 64)
		if err != nil {
			n = math.NaN()
		}
		return t.has(true, func(o operand) int {
			if n != n {
				return incomparable
			}
			return cmp.Compare(n, o.number)
		})
	case asMoment:
		n, ok := parseMoment(*text)
		return t.has(true, func(o operand) int {
			if !ok {
				return incomparable
			}
			return cmp.Compare(n, o.moment)
		})
	case asExact:
		// A multi-select equals each of its parts.
		return t.has(true, func(o operand) int {
			if slices.Contains(strings.Split(*text, ";"), o.text) {
				return 0
			}
			return cmp.Compare(*text, o.text)
		})
	}
	low := strings.ToLower(*text)
	return t.has(true, func(o operand) int { return cmp.Compare(low, o.text) })
}

// incomparable is neither less, equal nor greater.
const incomparable = 2

func (t *test) has(present bool, compare func(operand) int) bool {
	switch t.op {
	case "HAS_PROPERTY":
		return present
	case "NOT_HAS_PROPERTY":
		return !present
	}
	if !present {
		return false
	}
	equals := func(o operand) bool { return compare(o) == 0 }
	switch t.op {
	case "EQ":
		return equals(t.value)
	case "NEQ":
		return !equals(t.value)
	case "IN":
		return slices.ContainsFunc(t.values, equals)
	case "NOT_IN":
		return !slices.ContainsFunc(t.values, equals)
	case "BETWEEN":
		lo, hi := compare(t.value), compare(t.high)
		return (lo == 0 || lo == 1) && hi <= 0
	}
	switch d := compare(t.value); t.op {
	case "LT":
		return d == -1
	case "LTE":
		return d <= 0
	case "GT":
		return d == 1
	default: // GTE
		return d == 0 || d == 1
	}
}
