package hubspot

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// pair is a property's name and value, as sent.
type pair struct{ name, value []byte }

// ordered returns the places of the pairs in the order of their names. The
// records of a page have the same names in the same order, so that the order of
// the one before serves; sorting each took a tenth of a worker's time.
func (r *reading) ordered() []int {
	same := len(r.order) == len(r.pairs)
	for i := 0; same && i < len(r.pairs); i++ {
		same = bytes.Equal(r.names[i], r.pairs[i].name)
	}
	if same {
		return r.order
	}
	r.order, r.names = r.order[:0], r.names[:0]
	for i, p := range r.pairs {
		r.order, r.names = append(r.order, i), append(r.names, p.name)
	}
	slices.SortStableFunc(r.order, func(a, b int) int { return bytes.Compare(r.pairs[a].name, r.pairs[b].name) })
	return r.order
}

// sum names the content of a record by its pairs, in the order of their names;
// null and absent are the same.
func (r *reading) sum(archived bool) [16]byte {
	b := append(r.buf[:0], r.list[:]...)
	if archived {
		b = append(b, 'a')
	} else {
		b = append(b, 'l')
	}
	for _, i := range r.ordered() {
		p := r.pairs[i]
		if string(p.value) == "null" {
			continue
		}
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
