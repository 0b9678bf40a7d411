package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The description is right by the rules of its makers, and enough to make a
// client of, in a language that is not ours: one with which a script is checked
// and run. It needs node and npm's registry, so that `make openapi-check` alone
// asks for it.
func TestTypeScriptClient(t *testing.T) {
	t.Parallel()
	if os.Getenv("HUBPIPE_OPENAPI") == "" {
		t.Skip("make openapi-check asks for it")
	}
	b := setup(t)
	for i := range 3 {
		b.d.add("contacts", stream.Record{Head: stream.Head{ID: fmt.Sprint(i)}, Properties: fmt.Appendf(nil, `{"email":"%d@example.com"}`, i)})
	}
	res := do(t, b, "GET", "/openapi.json", "")
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/HTTP.md")
	if err != nil {
		t.Fatal(err)
	}
	printed := regexp.MustCompile("(?s)\n```ts\n(.*?)\n```\n").FindSubmatch(page)
	if printed == nil {
		t.Fatal("docs/HTTP.md has no lines of TypeScript")
	}
	n := node{t: t, dir: t.TempDir()}
	if err := os.CopyFS(n.dir, os.DirFS("testdata/typescript")); err != nil {
		t.Fatal(err)
	}
	n.file("openapi.json", string(text))
	n.file("rules.yaml", "extends: [\"spectral:oas\"]\n")
	n.file("printed.ts", "declare const process: { env: Record<string, string | undefined> };\n"+string(printed[1])+"\nconsole.log(page.data?.records[0]?.id);\n")
	n.run("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
	n.run("npx", "--no-install", "spectral", "lint", "--fail-severity=hint", "--ruleset", "rules.yaml", "openapi.json")
	n.run("npx", "--no-install", "openapi-typescript", "openapi.json", "-o", "api.d.ts")
	n.run("npx", "--no-install", "tsc", "--outDir", "made", "-p", ".")
	if out := n.run("node", "made/script.js", b.base, token); !strings.HasSuffix(out, "it works\n") {
		t.Errorf("the script prints %q", out)
	}
}

// node runs programs of npm's in a folder.
type node struct {
	t   *testing.T
	dir string
}

func (n node) file(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n node) run(program string, args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = n.dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		n.t.Fatalf("node and npm are needed for this, of https://nodejs.org: %v", err)
	}
	if err != nil {
		n.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}
