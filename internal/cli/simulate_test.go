package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAddObjects(t *testing.T) {
	t.Parallel()
	sizes := map[string]int{"contacts": 5}
	if err := addObjects(sizes, map[string]int{"products": 3, "p_cars": 4, "contacts": 6}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]int{"contacts": 6, "products": 3, "p_cars": 4}, sizes); d != "" {
		t.Error(d)
	}
	for _, bad := range []map[string]int{{"cars": 1}, {"owners": 1}, {"products": -1}} {
		if err := addObjects(sizes, bad); err == nil || !strings.Contains(err.Error(), "--objects") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
