package catalogue

import "strings"

// The properties in which a record names those that were merged into it:
// MergedObjects on every object, "123;456", and MergedVids on contacts besides,
// "123:1577836800000;456:1577836800000", with when it was.
const (
	MergedObjects = "hs_merged_object_ids"
	MergedVids    = "hs_calculated_merged_vids"
)

// MergedIDs is the union of what the two properties name, each id once. What is
// no id is left out.
func MergedIDs(objects, vids string) []string {
	var out []string
	seen := map[string]bool{}
	for _, list := range []string{objects, vids} {
		for part := range strings.SplitSeq(list, ";") {
			id, _, _ := strings.Cut(strings.TrimSpace(part), ":")
			if id == "" || seen[id] || strings.Trim(id, "0123456789") != "" {
				continue
			}
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}
