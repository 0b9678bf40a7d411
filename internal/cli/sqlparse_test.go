package cli

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is written for each warehouse is SQL by the grammar of that warehouse, as
// somebody else has written it. It needs node and npm's registry, so that
// `make sql-check` alone asks for it. Grammar is all it looks at: whether there is
// a function of that name it does not know.
func TestWarehouseSQLParses(t *testing.T) {
	t.Parallel()
	if os.Getenv("HUBPIPE_SQL") == "" {
		t.Skip("make sql-check asks for it")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/parser")); err != nil {
		t.Fatal(err)
	}
	args := []string{"parse.js"}
	for name, w := range warehouses() {
		file := filepath.Join(dir, name+".sql")
		// Younger than the grammar: Databricks SQL has it since runtime 15.2.
		text := strings.ReplaceAll(string(w.script(someTables(), "hubspot")), "MERGE WITH SCHEMA EVOLUTION INTO", "MERGE INTO")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name+"="+file)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for _, c := range []*exec.Cmd{
		exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"),
		exec.CommandContext(ctx, "node", args...),
	} {
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
		t.Logf("%s", out)
	}
}
