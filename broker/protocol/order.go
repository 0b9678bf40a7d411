package protocol

import (
	"cmp"
	"strconv"
	"strings"
)

// AfterAll is greater than every id, and behind the beginning of some ids it is
// greater than those: the end of a place in the order of ids.
const AfterAll = "\U0010FFFF"

// CompareIDs orders ids as the store does: numbers by their value, before all
// others, which are text.
func CompareIDs(a, b string) int {
	na, aNumber := number(a)
	nb, bNumber := number(b)
	switch {
	case aNumber && bNumber:
		return cmp.Compare(na, nb)
	case aNumber:
		return -1
	case bNumber:
		return 1
	}
	return strings.Compare(a, b)
}

// number reads an id that is a number in its one usual form.
func number(id string) (uint64, bool) {
	if id == "" || len(id) > 20 || id[0] == '0' && id != "0" {
		return 0, false
	}
	n, err := strconv.ParseUint(id, 10, 64)
	return n, err == nil && id[0] != '+'
}
