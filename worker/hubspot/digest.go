package hubspot

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// pair is a property's name and value, as sent.
type pair struct{ name, value []byte }

// sum names the content of a record by its pairs. HubSpot sends properties in
// the order of their names, so that sorting is seldom needed.
func (r *reading) sum(archived bool) [16]byte {
	byName := func(a, b pair) int { return bytes.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(r.pairs, byName) {
		slices.SortStableFunc(r.pairs, byName)
	}
	b := append(r.buf[:0], r.list[:]...)
	if archived {
		b = append(b, 'a')
	} else {
		b = append(b, 'l')
	}
	for _, p := range r.pairs {
		b = append(b, p.name...)
		b = append(b, ':')
		b = append(b, p.value...)
		b = append(b, ',')
	}
	r.buf = b
	full := sha256.Sum256(b)
	return [16]byte(full[:16])
}

// ListHash names a list of properties: the same names in another order have
// the same hash. It is part of every digest, so that a record that was read
// with fewer properties is not taken for the same.
func ListHash(names []string) [8]byte {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	var b []byte
	for _, n := range slices.Compact(sorted) {
		b = append(b, n...)
		b = append(b, '\n')
	}
	full := sha256.Sum256(b)
	return [8]byte(full[:8])
}
