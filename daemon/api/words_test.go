package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The description of the API says of each field what the code says of it;
// HUBPIPE_WRITE_DOCS=1 writes it anew.
func TestWordsAreTheCodes(t *testing.T) {
	t.Parallel()
	want := words{}
	files, err := filepath.Glob("client/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				typ := spec.(*ast.TypeSpec) // of a declaration of types
				if s, ok := typ.Type.(*ast.StructType); ok {
					if w := wordsOf(g.Doc, s); w != nil {
						want[typ.Name.Name] = w
					}
				}
			}
		}
	}
	b, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("HUBPIPE_WRITE_DOCS") != "" {
		if err := os.WriteFile("words.json", append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(wordsFile), string(b)+"\n"); diff != "" {
		t.Errorf("words.json is not what the comments say; run make docs:\n%s", diff)
	}
}

// wordsOf are the comments of a struct that has JSON names, nil of another.
func wordsOf(doc *ast.CommentGroup, s *ast.StructType) map[string]string {
	w := map[string]string{"": flat(doc)}
	was := ""
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
		name, _, _ := strings.Cut(tag, ",")
		if name == "" || name == "-" {
			continue
		}
		text := flat(f.Doc)
		if text == "" {
			text = flat(f.Comment)
		}
		// A comment that speaks of several fields stands above the first.
		for _, id := range f.Names {
			if text == "" && strings.Contains(was, id.Name+" ") {
				text = was
			}
		}
		if was = text; text != "" {
			w[name] = text
		}
	}
	if len(w) == 1 && w[""] == "" {
		return nil
	}
	return w
}

func flat(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return strings.Join(strings.Fields(c.Text()), " ")
}
