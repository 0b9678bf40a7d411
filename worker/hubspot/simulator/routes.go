package simulator

import (
	"net/http"
	"slices"
	"strings"
)

// further reads the addresses that are of no object's records. p is the
// address in parts, with the version behind the family.
func (s *Simulator) further(p []string, w *switches) route {
	if len(p) == 3 && p[0] == "crm" && p[1] == "v3" {
		p[1], p[2] = p[2], p[1]
	}
	if rt, ok := s.tokenRoute(p, w); ok {
		return rt
	}
	if rt, ok := s.journalRoute(p, w); ok {
		return rt
	}
	if rt, ok := s.associationRoute(p, w); ok {
		return rt
	}
	path := strings.Join(p, "/")
	for _, version := range w.versions {
		if path == "crm-object-schemas/"+version+"/schemas" || path == "crm/schemas/v3" && slices.Contains(w.versions, "v3") {
			return route{kind: kindOfSchemas, known: true, method: http.MethodGet, do: (*call).schemas}
		}
	}
	if rt, ok := s.setRoute(p, w); ok {
		return rt
	}
	return route{kind: kindOfOther}
}
