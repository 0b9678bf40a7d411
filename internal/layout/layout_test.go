// Package layout holds the borders of the project: which package may import
// which, which library stays in which room, and the few rules of form that a
// reader relies on. It has no code, only this test.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/hubpipe/hubpipe"

// mayImport says what each package may import of the project, tests apart. An
// entry that ends in /... means the package and all below it. A package that
// no entry covers fails the test: a new one is a decision, written down here
// and in docs/ARCHITECTURE.md.
func mayImport() map[string][]string {
	const catalogue, fail, listen, durable = "worker/hubspot/catalogue", "internal/failpoint", "internal/listen", "internal/durable"
	return map[string][]string{
		".":                 {"internal/cli"},
		"broker/protocol":   {"internal/rawjson"},
		"broker":            {"broker/protocol", listen},
		"daemon/stream":     {},
		"daemon/config":     {"daemon/stream", "daemon/notify", catalogue, "daemon/access", listen},
		"daemon/notify":     {},
		"daemon/webhook":    {},
		"daemon/store":      {"daemon/stream", fail, durable},
		"daemon/access":     {durable},
		"daemon/schedule":   {"daemon/stream", catalogue},
		"daemon/budget":     {},
		"daemon/dispatch":   {"daemon/stream", "daemon/budget", "broker/protocol", catalogue, fail},
		"daemon/metrics":    {"broker", "daemon/stream", "daemon/dispatch", "daemon/store", "daemon/destination"},
		"daemon/api":        {"daemon/stream", "daemon/api/client", "daemon/webhook", listen},
		"daemon/api/client": {"daemon/stream"},
		// Iceberg's tables have the columns and values of files.
		"daemon/destination/iceberg": {"daemon/stream", "daemon/destination", "daemon/destination/files", fail},
		"daemon/destination/...":     {"daemon/stream", "daemon/destination", "internal/rawjson", fail, durable},
		"daemon":                     {"daemon/...", "broker/...", fail, durable},
		"worker":                     {"broker", "broker/protocol", "worker/hubspot", catalogue, fail, "internal/rawjson"},
		"worker/hubspot":             {catalogue, "internal/rawjson", durable},
		"worker/hubspot/catalogue":   {},
		"worker/hubspot/simulator":   {},
		"tui":                        {"daemon/api/client"},
		"internal/cli":               {"broker/...", "daemon/...", "worker/...", "tui", durable},
		"internal/e2e/...":           {"broker/...", "daemon/...", "worker/...", "tui", "internal/cli", "internal/e2e/...", fail},
		"internal/durable":           {},
		"internal/failpoint":         {},
		"internal/layout":            {},
		"internal/listen":            {},
		"internal/rawjson":           {},
	}
}

// rooms says which package alone may import a library, so that it can be
// replaced, watched and bounded in one place.
func rooms() map[string]string {
	return map[string]string{
		"github.com/mochi-mqtt/server":       "broker",
		"github.com/eclipse/paho.golang":     "broker",
		"github.com/dgraph-io/badger":        "daemon/store",
		"github.com/hashicorp/hcl":           "daemon/config",
		"github.com/zclconf/go-cty":          "daemon/config",
		"charm.land/bubbletea":               "tui/...",
		"charm.land/bubbles":                 "tui/...",
		"charm.land/lipgloss":                "tui/...",
		"github.com/charmbracelet/bubbletea": "tui/...",
		"github.com/spf13/cobra":             "internal/cli",
		"github.com/prometheus":              "daemon/metrics",
		"github.com/jackc/pgx":               "daemon/destination/...", // PostgreSQL, and catalogues in it
		"github.com/google/jsonschema-go":    "daemon/api",
		"github.com/parquet-go/parquet-go":   "daemon/...", // exports, and files
		"gocloud.dev":                        "daemon/destination/files",
		"github.com/minio/minio-go":          "daemon/destination/files",
		"github.com/apache":                  "daemon/destination/iceberg",
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	for _, problem := range judge(list(t), mayImport(), rooms()) {
		t.Error(problem)
	}
}

// TestImportsAreJudged shows that each kind of trespass is seen.
func TestImportsAreJudged(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		pkg     listed
		problem string
	}{
		{"allowed", listed{"broker", []string{"fmt", module + "/broker/protocol", "github.com/mochi-mqtt/server/v2"}}, ""},
		{"below a pattern", listed{"daemon", []string{module + "/daemon", module + "/daemon/store"}}, ""},
		{"outward", listed{"daemon/stream", []string{module + "/daemon/store"}}, "daemon/stream imports daemon/store"},
		{"across", listed{"worker", []string{module + "/daemon/stream"}}, "worker imports daemon/stream"},
		{"one too deep", listed{"worker", []string{module + "/worker/hubspot/simulator"}}, "worker imports worker/hubspot/simulator"},
		{"library out of its room", listed{"daemon", []string{"github.com/dgraph-io/badger/v4/options"}}, "daemon imports github.com/dgraph-io/badger/v4/options, which only daemon/store may"},
		{"a name that only begins alike", listed{"daemon", []string{"github.com/dgraph-io/badgerish"}}, ""},
		{"unknown", listed{"daemon/helpers", nil}, "package daemon/helpers is not in the table"},
		{"name that says nothing", listed{"internal/util", nil}, "says nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(judge([]listed{tt.pkg}, mayImport(), rooms()), "\n")
			if (tt.problem == "") != (got == "") || !strings.Contains(got, tt.problem) {
				t.Errorf("got %q, want %q", got, tt.problem)
			}
		})
	}
}

// TestRoot keeps the first thing that a visitor sees short.
func TestRoot(t *testing.T) {
	t.Parallel()
	known := []string{
		"broker", "daemon", "worker", "tui", "docs", "internal", "main.go", "hubpipe.hcl",
		"go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile",
		"bin", "dist", "coverage.txt", // built, ignored by git
	}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		switch ext := path.Ext(name); {
		case strings.HasPrefix(name, "."), ext == ".test", ext == ".out", slices.Contains(known, name):
		default:
			t.Errorf("%s stands at the root: it belongs into a folder", name)
		}
	}
}

// maxLines is what still fits in a head.
const (
	maxLines     = 600
	maxMainLines = 120
)

func TestForm(t *testing.T) {
	t.Parallel()
	dir := root(t)
	for _, name := range files(t, ".go") {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range form(name, src) {
			t.Error(problem)
		}
	}
}

// TestFormIsJudged shows that each rule of form is seen when it is broken.
func TestFormIsJudged(t *testing.T) {
	t.Parallel()
	long := "package a\n" + strings.Repeat("//\n", maxLines)
	for _, tt := range []struct{ name, file, src, problem string }{
		{"good", "daemon/a.go", "package a\n\ntype T int\n\nfunc (T) init() {}\n", ""},
		{"init", "daemon/a.go", "package a\n\nfunc init() {}\n", "init()"},
		{"init in a test", "daemon/a_test.go", "package a\n\nfunc init() {}\n", "init()"},
		{"exit", "daemon/a.go", "package a\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n", "os.Exit"},
		{"exit in main.go", "main.go", "package main\n\nimport \"os\"\n\nfunc main() { os.Exit(1) }\n", ""},
		{"exit in a test's main", "daemon/a_test.go", "package a\n\nimport \"os\"\n\nfunc f() { os.Exit(1) }\n", ""},
		{"fatal", "daemon/a.go", "package a\n\nimport \"log\"\n\nfunc f() { log.Fatalf(\"x\") }\n", "log.Fatalf"},
		{"written loosely", "daemon/a.go", "package a\n\nimport \"os\"\n\nfunc f() error { return os.WriteFile(\"x\", nil, 0o600) }\n", "internal/durable"},
		{"written loosely in a test", "daemon/a_test.go", "package a\n\nimport \"os\"\n\nfunc f() error { return os.WriteFile(\"x\", nil, 0o600) }\n", ""},
		{"long", "daemon/a.go", long, "601 lines"},
		{"long main", "main.go", "package main\n" + strings.Repeat("//\n", maxMainLines), "121 lines"},
		{"does not parse", "daemon/a.go", "package", "expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(form(tt.file, []byte(tt.src)), "\n")
			if (tt.problem == "") != (got == "") || !strings.Contains(got, tt.problem) {
				t.Errorf("got %q, want %q", got, tt.problem)
			}
		})
	}
}

// TestLinks follows the links between the project's documents.
func TestLinks(t *testing.T) {
	t.Parallel()
	dir := root(t)
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)
	for _, name := range files(t, ".md") {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(src, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, filepath.Dir(name), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, target)
			}
		}
	}
}

// listed is a package, by its path within the module, with all that its files
// import, those of other platforms included.
type listed struct {
	Path    string
	Imports []string
}

// judge returns a sentence for each trespass.
func judge(pkgs []listed, table map[string][]string, libraries map[string]string) []string {
	var problems []string
	for _, p := range pkgs {
		if base := path.Base(p.Path); slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc"}, base) {
			problems = append(problems, fmt.Sprintf("the name of package %s says nothing", p.Path))
		}
		allowed, ok := entry(table, p.Path)
		if !ok {
			problems = append(problems, fmt.Sprintf("package %s is not in the table: say what it may import", p.Path))
			continue
		}
		for _, imported := range p.Imports {
			if own, ok := within(imported); ok {
				if !slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, own) }) {
					problems = append(problems, fmt.Sprintf("%s imports %s: not in its row of the table", p.Path, own))
				}
				continue
			}
			for library, room := range libraries {
				if under(imported, library) && !matches(room, p.Path) {
					problems = append(problems, fmt.Sprintf("%s imports %s, which only %s may", p.Path, imported, room))
				}
			}
		}
	}
	return problems
}

// entry finds the row of a package: its own before a pattern's.
func entry(table map[string][]string, pkg string) ([]string, bool) {
	if allowed, ok := table[pkg]; ok {
		return allowed, true
	}
	for pattern, allowed := range table {
		if matches(pattern, pkg) {
			return allowed, true
		}
	}
	return nil, false
}

func within(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func matches(pattern, pkg string) bool {
	if dir, ok := strings.CutSuffix(pattern, "/..."); ok {
		return under(pkg, dir)
	}
	return pattern == pkg
}

func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// form returns a sentence for each rule of form that a file breaks.
func form(name string, src []byte) []string {
	var problems []string
	limit := maxLines
	if name == "main.go" {
		limit = maxMainLines
	}
	if n := bytes.Count(src, []byte("\n")); n > limit {
		problems = append(problems, fmt.Sprintf("%s has %d lines, more than %d: divide it", name, n, limit))
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return append(problems, err.Error())
	}
	mayExit := name == "main.go" || strings.HasSuffix(name, "_test.go")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				problems = append(problems, fmt.Sprintf("%s: init(): pass what it sets up through a constructor", fset.Position(n.Pos())))
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || mayExit {
				break
			}
			call := x.Name + "." + n.Sel.Name
			if call == "os.WriteFile" && !strings.HasPrefix(name, "internal/") {
				problems = append(problems, fmt.Sprintf("%s: %s: a loss of power leaves half of it, or none; internal/durable does not", fset.Position(n.Pos()), call))
			}
			if call == "os.Exit" || strings.HasPrefix(call, "log.Fatal") {
				problems = append(problems, fmt.Sprintf("%s: %s: return an error; only main.go ends the process", fset.Position(n.Pos()), call))
			}
		}
		return true
	})
	return problems
}

// list asks the go command for the packages of the module, those that do not
// build (-e) too: the compiler says what is wrong with them.
func list(t *testing.T) []listed {
	t.Helper()
	dir := root(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Dir,Imports,IgnoredGoFiles", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir         string
			Imports, IgnoredGoFiles []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		own, ok := within(p.ImportPath)
		if !ok {
			t.Fatalf("%s lies outside %s", p.ImportPath, module)
		}
		for _, ignored := range p.IgnoredGoFiles {
			if !strings.HasSuffix(ignored, "_test.go") {
				p.Imports = append(p.Imports, importsOf(t, filepath.Join(p.Dir, ignored))...)
			}
		}
		pkgs = append(pkgs, listed{own, p.Imports})
	}
	if len(pkgs) < 3 {
		t.Fatalf("go list found %d packages: not the project", len(pkgs))
	}
	return pkgs
}

// importsOf reads the imports of a file that this platform does not build.
func importsOf(t *testing.T, name string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, spec := range file.Imports {
		out = append(out, strings.Trim(spec.Path.Value, `"`))
	}
	return out
}

// files lists the project's files with this ending, relative to its root.
// Folders that hold fixtures or what was built are left out.
func files(t *testing.T, ending string) []string {
	t.Helper()
	dir := root(t)
	var out []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		switch {
		case !d.IsDir():
			if strings.HasSuffix(base, ending) {
				rel, err := filepath.Rel(dir, name)
				if err != nil {
					return err
				}
				out = append(out, filepath.ToSlash(rel))
			}
		case name != dir && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "dist"):
			return filepath.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// root is the folder of go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("not at the root of the project: %v", err)
	}
	return dir
}
