package destination

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The list of what is personal stands in the docs; with HUBPIPE_UPDATE_DOCS it is
// written there.
func TestPersonalDocument(t *testing.T) {
	t.Parallel()
	const path, head = "../../docs/DESTINATIONS.md", "| object | what `pii` means |\n|---|---|\n"
	var want strings.Builder
	of := personal()
	for _, object := range slices.Sorted(maps.Keys(of)) {
		name := object
		if object == everywhere {
			name = "all"
		}
		fmt.Fprintf(&want, "| %s | `%s` |\n", name, strings.Join(of[object], "`, `"))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), head)
	table, after, whole := strings.Cut(rest, "\n\n")
	if !ok || !whole {
		t.Fatalf("%s has no table that begins with %q", path, head)
	}
	if table+"\n" == want.String() {
		return
	}
	if os.Getenv("HUBPIPE_UPDATE_DOCS") == "" {
		t.Fatalf("%s does not have the list: HUBPIPE_UPDATE_DOCS=1 go test ./daemon/destination", path)
	}
	if err := os.WriteFile(path, []byte(before+head+want.String()+"\n"+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
