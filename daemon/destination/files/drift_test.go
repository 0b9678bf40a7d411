package files_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// typesIn are the types of a stream's columns, by name, as the manifest has them
// for all files together and for each.
func (r *rig) typesIn(name string) (union map[string]string, each []map[string]string) {
	r.t.Helper()
	m := r.manifest(name)
	union = map[string]string{}
	for _, c := range m.Columns {
		union[c.Name] = string(c.Type)
	}
	for _, f := range m.Files {
		one := map[string]string{}
		for k, v := range m.Schemas[f.Schema] {
			one[k] = string(v)
		}
		each = append(each, one)
	}
	return union, each
}

// A new property is a column of the files from then on; one whose type changes is
// wider, and all is written again so that every file has the same type.
func TestDrift(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, local(t), files.Options{Format: format})
			r.Define("contacts", "score number", "day_of date")
			r.Put("contacts", record("1", `{"score":"1","day_of":"2024-01-02"}`))
			r.Start()
			r.Current()
			r.Define("contacts", "score number", "day_of date", "email string")
			r.Put("contacts", record("2", `{"score":"2","email":"a"}`), record("3", `{"surprise":"7"}`))
			r.Current()
			union, each := r.typesIn("contacts")
			if union["email"] != "string" || union["surprise"] != "string" || each[0]["email"] != "" || each[len(each)-1]["email"] != "string" {
				t.Errorf("types %v, of the files %v", union, each)
			}
			if p := r.Current().Streams[0].Place; p.Reread != nil {
				t.Errorf("all is written again for a column more: %+v", p)
			}
			r.Equal()
			r.Define("contacts", "score string", "day_of datetime", "email number")
			r.Put("contacts", record("4", `{"score":"many","day_of":"2024-01-02T03:04:05Z"}`))
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.manifest("contacts").Snapshots > 0
			})
			union, each = r.typesIn("contacts")
			for _, types := range append(each, union) {
				if k := types["score"]; k != "string" {
					t.Errorf("score is %q", k)
				}
				if k := types["day_of"]; k != "timestamp" {
					t.Errorf("day_of is %q", k)
				}
				if k := types["email"]; k != "" && k != "string" {
					t.Errorf("email has become narrower: %q", k)
				}
			}
			x := r.table("contacts")
			if x["1"]["score"] != "1" || x["4"]["score"] != "many" || x["1"]["day_of"] == "" || x["3"]["surprise"] != "7" {
				t.Errorf("rows %v", x)
			}
			r.Equal()
		})
	}
}

// Without definitions a column has the type of what is seen first, and becomes
// text where something else comes.
func TestWithoutDefinitions(t *testing.T) {
	t.Parallel()
	r := newRig(t, local(t), files.Options{})
	r.Put("contacts", record("1", `{"n":1,"b":true,"o":{"a":[1]},"at":"2024-01-02T03:04:05Z","id":"own"}`))
	r.Start()
	r.Current()
	union, _ := r.typesIn("contacts")
	if union["n"] != "double" || union["b"] != "boolean" || union["o"] != "json" || union["at"] != "timestamp" {
		t.Errorf("types %v", union)
	}
	r.Equal()
	r.Put("contacts", record("2", `{"n":"one","b":null,"o":[2],"at":"soon"}`))
	r.Until(func(s destination.Status) bool {
		return s.State == destination.Current && r.manifest("contacts").Snapshots > 0
	})
	x := r.table("contacts")
	if x["1"]["n"] != "1" || x["2"]["n"] != "one" || x["1"]["at"] != "2024-01-02T03:04:05Z" || x["2"]["o"] != "[2]" || x["1"]["id"] != "1" {
		t.Errorf("rows %v", x)
	}
	r.Equal()
}

// A type that changes while the first rows are taken in leaves no file of the one
// before.
func TestTypeOfFirstRows(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, local(t), files.Options{Format: format})
			var list []*stream.Record
			for i := range 6000 { // more than a batch
				list = append(list, record(fmt.Sprint(i), `{"number":7}`))
			}
			list = append(list, record("last", `{"number":"seven"}`))
			r.Put("contacts", list...)
			r.Start()
			r.Current()
			union, each := r.typesIn("contacts")
			for _, types := range append(each, union) {
				if types["number"] != "string" {
					t.Errorf("types %v, of the files %v", union, each)
				}
			}
			r.Equal()
			if x := r.table("contacts"); len(x) != 6001 || x["1"]["number"] != "7" || x["last"]["number"] != "seven" {
				t.Errorf("%d rows, %v, %v", len(x), x["1"], x["last"])
			}
		})
	}
}

// Names and values that nobody should have.
func TestHostile(t *testing.T) {
	t.Parallel()
	names := []string{"", "id", "ID", "_hubpipe_seq", "_HUBPIPE_STATE", "Email", "email", "a.b", "a\"b", "a\\b", "a\nb", "a\x00b", "é", "a=b/c", "day", "list", "element",
		"DROP TABLE x; --", strings.Repeat("n", 300), "__proto__", "p_id"}
	values := []string{"\x00", "\"", "\\", "\n\r\t", "\u2028", "'; DROP", strings.Repeat("x", 1<<20), "😀", "=1+1", "NaN", "null", "\x7f", ""}
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, local(t), files.Options{Format: format, Raw: true})
			list := []stream.Property{}
			for i, n := range names {
				list = append(list, stream.Property{Name: n, Type: []string{"string", "enumeration", "number"}[i%3], FieldType: "checkbox", Label: n})
			}
			r.Src.Define("contacts", list)
			for i, v := range values {
				p := map[string]string{}
				for j, n := range names {
					if j < 8 || len(v) < 1000 {
						p[n] = v
					}
				}
				b, err := json.Marshal(p)
				if err != nil {
					t.Fatal(err)
				}
				r.Put("contacts", record(fmt.Sprintf("%d", i), string(b)))
			}
			r.Put("contacts", record("raw", "{\"email\":\"a\xff\\ud800b\",\"x\":1e999,\"email\":\"twice\",\"Email\":[ 1,\n2 ]}"))
			r.Start()
			r.Current()
			columns, lower := map[string]string{}, map[string]bool{}
			for _, c := range r.manifest("contacts").Columns {
				columns[c.Property] = c.Name
				if lower[strings.ToLower(c.Name)] {
					t.Errorf("two columns are called %q where case does not count", c.Name)
				}
				lower[strings.ToLower(c.Name)] = true
			}
			rows := r.table("contacts")
			for i, v := range values {
				for j, n := range names {
					if got := rows[fmt.Sprint(i)][columns[n]]; j%3 == 0 && n != "" && got != v && (j < 8 || len(v) < 1000) {
						t.Errorf("%.20q of property %.20q is %.40q in column %.20q", v, n, got, columns[n])
					}
				}
			}
			r.Equal()
		})
	}
}

// What is wrong is said with what to do about it, and no secret of it.
func TestProblems(t *testing.T) {
	t.Parallel()
	all := func(status int, code string) func(*http.Request) *fault {
		return func(*http.Request) *fault { return &fault{status: status, code: code} }
	}
	inFile := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(inFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, url, kind, says string
		fault                 func(*http.Request) *fault
		blocked               bool
	}{
		{name: "no bucket", url: "s3://nowhere/x?region=us-east-1&use_path_style=true&endpoint=SERVER", kind: "destination-refused", says: "create bucket nowhere", blocked: true},
		{name: "wrong key", fault: all(403, "SignatureDoesNotMatch"), kind: "destination-refused", says: "check access_key", blocked: true},
		{name: "no right", fault: all(403, "AccessDenied"), kind: "destination-refused", says: "s3:PutObject", blocked: true},
		{name: "full", fault: func(q *http.Request) *fault {
			if q.Method == http.MethodPut {
				return &fault{status: 400, code: "QuotaExceeded"}
			}
			return nil
		}, kind: "destination-full", says: "make room"},
		{name: "nobody there", url: "s3://lake/x?region=us-east-1&use_path_style=true&endpoint=http://127.0.0.1:1", kind: "destination-unreachable", says: "is it running"},
		{name: "no folder", url: "file://" + inFile, kind: "destination-refused", says: "folder", blocked: true},
		{name: "not built in", url: "gs://bucket", kind: "destination-refused", says: "-tags gcs", blocked: true},
		{name: "no url", url: "s3://", kind: "destination-refused", says: "s3://bucket/prefix", blocked: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := s3(t)
			if tt.url = strings.Replace(tt.url, "SERVER", at.s.URL, 1); tt.url == "" {
				tt.url = at.url()
			}
			r := newRig(t, at, files.Options{URL: tt.url, AccessKey: "key-canary", SecretKey: "secret-canary"})
			at.fails(tt.fault)
			r.Put("contacts", record("1", `{"email":"value-canary"}`))
			r.Start()
			s := r.Until(func(s destination.Status) bool { return s.Error != nil })
			text := s.Error.Error() + s.Error.Detail + s.Error.Hint + s.Target
			if s.Error.Type != tt.kind || s.Error.Blocked != tt.blocked || !strings.Contains(text, tt.says) || strings.Contains(text, "canary") {
				t.Errorf("it says %+v", s.Error)
			}
			at.fails(nil)
			if strings.HasPrefix(tt.url, "s3://lake/crm") { // mended
				if err := r.M.Resume("lake"); err != nil {
					t.Fatal(err)
				}
				r.Current()
				r.Equal()
			}
			r.Stop()
		})
	}
}

// The files of another data folder are left alone.
func TestForeign(t *testing.T) {
	t.Parallel()
	at := local(t)
	r := newRig(t, at, files.Options{})
	r.Put("contacts", record("1", `{"email":"a"}`))
	r.Start()
	r.Current()
	r.Stop()
	other := newRig(t, at, files.Options{})
	other.Put("contacts", record("2", `{"email":"b"}`))
	other.Start()
	s := other.Until(func(s destination.Status) bool { return s.Error != nil })
	if s.State != destination.Blocked || s.Error.Type != "destination-foreign" {
		t.Errorf("it is %s: %+v", s.State, s.Error)
	}
	if x := r.table("contacts"); len(x) != 1 || x["1"]["email"] != "a" {
		t.Errorf("the files have %v", x)
	}
}

// With "ignore" nothing gets another column, and what was ignored is listed; with
// "block" nothing is written until somebody says. When it is applied after all,
// older rows get their values, too.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	for _, format := range []string{files.Parquet, files.NDJSON} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, local(t), files.Options{Format: format, SchemaChanges: files.Ignore})
			r.Streams = append(r.Streams, destination.Stream{Name: "owners", Object: "owners"})
			r.Define("contacts", "email string", "score number")
			r.Put("contacts", record("1", `{"email":"a","score":"1"}`))
			r.Put("owners", record("7", `{"name":"Ann"}`)) // nothing defines it
			again := func(policy string) {
				if r.M != nil {
					r.Stop()
				}
				r.o.SchemaChanges = policy
				r.Start()
			}
			ignored := func(name string) (out []string) {
				for _, x := range r.manifest(name).Ignored {
					out = append(out, x.Property+" "+x.Change+" "+string(x.Type))
				}
				return out
			}
			again(files.Ignore)
			r.Current()
			if x := ignored("contacts"); len(x) > 0 || r.table("owners")["7"]["name"] != "Ann" {
				t.Errorf("of the first rows %v is ignored", x)
			}
			r.Define("contacts", "email string", "score string", "born string")
			r.Put("contacts", record("2", `{"email":"b","score":"many","born":"x","hidden":"x"}`))
			r.Put("owners", record("8", `{"name":"Bob","team":"blue"}`))
			for range 2 { // it is the same after a restart
				r.Current()
				want := []string{"score type string", "born new string", "hidden new string"}
				if d := gocmp.Diff(want, ignored("contacts")); d != "" {
					t.Error(d)
				}
				if d := gocmp.Diff([]string{"team new string"}, ignored("owners")); d != "" {
					t.Error(d)
				}
				got := r.table("contacts")["2"]
				if got["email"] != "b" || got["score"] != "" || got["born"] != "" || got["hidden"] != "" {
					t.Errorf("row %v", got)
				}
				r.Equal()
				checked, err := r.M.Check(t.Context(), "lake")
				if err != nil || len(checked[0].Remarks) != 3 || !strings.Contains(checked[0].Remarks[1], "property born has no column: HubSpot's is string since") {
					t.Errorf("a check says %+v, %v", checked, err)
				}
				again(files.Ignore)
			}

			again(files.Block)
			r.Put("contacts", record("3", `{"email":"c","score":"3"}`))
			r.Put("owners", record("9", `{"name":"Cat","desk":"9"}`))
			s := r.Until(func(s destination.Status) bool {
				return len(s.Streams) == 2 && s.Streams[0].Error != nil && s.Streams[1].Error != nil
			})
			for i, says := range []string{"born (new, string)", "desk (new, string)"} {
				if p := s.Streams[i].Error; s.State != destination.Blocked || !strings.Contains(p.Detail, says) || !strings.Contains(p.Hint, "schema_changes") {
					t.Errorf("%s says %+v", s.Streams[i].Stream, p)
				}
			}
			if x := r.table("contacts"); len(x) != 2 {
				t.Errorf("it goes on: %v", x)
			}

			again(files.Apply)
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.manifest("contacts").Snapshots > 0 && r.manifest("owners").Snapshots > 0
			})
			got, owner := r.table("contacts")["2"], r.table("owners")
			if got["score"] != "many" || got["born"] != "x" || got["hidden"] != "x" || owner["8"]["team"] != "blue" || owner["9"]["desk"] != "9" {
				t.Errorf("rows %v and %v", got, owner)
			}
			if x := append(ignored("contacts"), ignored("owners")...); len(x) > 0 {
				t.Errorf("it still lists %v", x)
			}
			r.same("contacts")
			r.Equal()

			// What a person lets in, or keeps out, is no change of HubSpot's.
			r.Choice = destination.Choice{Hash: []string{"email"}}
			again(files.Block)
			r.Current()
			if got := r.table("contacts")["2"]; len(got["email"]) != 64 {
				t.Errorf("row %v", got)
			}
		})
	}
}
