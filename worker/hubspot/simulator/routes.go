package simulator

import (
	"net/http"
	"strings"
)

// further reads the addresses that are of no object's records. p is the
// address in parts.
func (s *Simulator) further(p []string, w *switches) route {
	if rt, ok := s.tokenRoute(p, w); ok {
		return rt
	}
	if rt, ok := s.associationRoute(p, w); ok {
		return rt
	}
	path := strings.Join(p, "/")
	for _, version := range w.versions {
		if path == "crm-object-schemas/"+version+"/schemas" || path == "crm/v3/schemas" && version == "v3" {
			return route{kind: kindOfSchemas, known: true, method: http.MethodGet, do: (*call).schemas}
		}
	}
	return route{kind: kindOfOther}
}
