package stream

import (
	"strings"

	"github.com/agext/levenshtein"
)

// farthest is how many letters a name may be off from the one that was meant.
const farthest = 3

// Nearest is the known name that was probably meant, "" where none is near.
func Nearest(name string, known []string) string {
	best, least := "", farthest+1
	if len(name) > 100 {
		return ""
	}
	for _, k := range known {
		d := levenshtein.Distance(strings.ToLower(name), k, nil)
		if d < least && d < len(k) {
			best, least = k, d
		}
	}
	return best
}
