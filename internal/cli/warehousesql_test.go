package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is written for each warehouse is the same each time, and no name breaks out
// of its quotes.
func TestWarehouseSQL(t *testing.T) {
	t.Parallel()
	for name, w := range warehouses() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := w.script(someTables(), "hubspot")
			golden(t, filepath.Join("sql", name+".sql"), got)
			whole(t, string(got), name == "databricks")
			for _, says := range []string{"/eu-deals", "s3://bucket/crm", "_load"} {
				if !strings.Contains(strings.ToLower(string(got)), says) {
					t.Errorf("it lacks %s", says)
				}
			}
		})
	}
}

// whole tells whether all quotes and brackets of a script are closed where its
// statements end. A backslash takes what follows out of its meaning, in names of
// letters not everywhere.
func whole(t *testing.T, script string, plain bool) {
	t.Helper()
	depth, quote := 0, rune(0)
	runes := []rune(script)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == '-':
			if r == '\n' {
				quote = 0
			}
		case quote != 0:
			if r == '\\' && quote != '"' && !(plain && quote == '`') {
				i++
			} else if r == quote {
				quote = 0 // a doubled one opens again
			}
		case r == '-' && i+1 < len(runes) && runes[i+1] == '-':
			quote = '-'
		case r == '\'' || r == '"' || r == '`':
			quote = r
		case r == '(' || r == '[':
			depth++
		case r == ')' || r == ']':
			depth--
		case r == ';' && depth != 0:
			t.Fatalf("a statement ends in %d brackets at %q", depth, string(runes[max(0, i-80):i]))
		}
		if depth < 0 {
			t.Fatalf("a bracket too much at %q", string(runes[max(0, i-80):i]))
		}
	}
	if depth != 0 || quote != 0 && quote != '-' {
		t.Errorf("it ends in %d brackets, quote %q", depth, quote)
	}
}
