//go:build iceberg

package iceberg_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go/table"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
)

// ignored is what a table's state lists, and the names of its columns.
func (r *rig) ignored(name string) (list, columns []string) {
	r.t.Helper()
	r.look(name, func(tbl *table.Table) {
		var state struct{ Ignored []files.Ignored }
		if err := json.Unmarshal([]byte(tbl.Properties()["hubpipe.state"]), &state); err != nil {
			r.t.Fatal(err)
		}
		for _, x := range state.Ignored {
			list = append(list, x.Property+" "+x.Change+" "+string(x.Type))
		}
		for _, f := range tbl.Schema().Fields() {
			if !strings.HasPrefix(f.Name, "_hubpipe_") {
				columns = append(columns, f.Name+" "+f.Type.String())
			}
		}
	})
	slices.Sort(columns)
	return list, columns
}

// With "ignore" nothing gets another column, and what was ignored is listed, also in
// a check; with "block" nothing is written until somebody says. When it is applied
// after all, older rows get their values, too.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode})
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
			again(files.Ignore)
			r.Current()
			if x, _ := r.ignored("contacts"); len(x) > 0 || r.newest("owners")["7"]["name"] != "Ann" {
				t.Errorf("of the first rows %v is ignored", x)
			}
			r.Define("contacts", "email string", "score string", "born string")
			r.Put("contacts", record("2", `{"email":"b","score":"many","born":"x","hidden":"x"}`))
			r.Put("owners", record("8", `{"name":"Bob","team":"blue"}`))
			for range 2 { // it is the same after a restart
				r.Current()
				list, columns := r.ignored("contacts")
				if d := gocmp.Diff([]string{"score type string", "born new string", "hidden new string"}, list); d != "" {
					t.Error(d)
				}
				if d := gocmp.Diff([]string{"email string", "id string", "score double"}, columns); d != "" {
					t.Error(d)
				}
				list, columns = r.ignored("owners")
				if d := gocmp.Diff([]string{"team new string"}, list); d != "" {
					t.Error(d)
				}
				if d := gocmp.Diff([]string{"id string", "name string"}, columns); d != "" {
					t.Error(d)
				}
				if got := r.newest("contacts")["2"]; got["email"] != "b" || got["score"] != "" {
					t.Errorf("row %v", got)
				}
				r.Equal()
				checked, err := r.M.Check(t.Context(), "lake")
				if said := strings.Join(checked[0].Remarks, "\n"); err != nil || len(checked[0].Remarks) != 3 || !strings.Contains(said, "property born has no column: HubSpot's is string since") {
					t.Errorf("a check says %q, %v", said, err)
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
			if x := r.newest("contacts"); len(x) != 2 {
				t.Errorf("it goes on: %v", x)
			}

			again(files.Apply)
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.newest("contacts")["2"]["hidden"] == "x" && r.newest("owners")["8"]["team"] == "blue"
			})
			got, owner := r.newest("contacts")["2"], r.newest("owners")
			if got["score"] != "many" || got["born"] != "x" || owner["9"]["desk"] != "9" {
				t.Errorf("rows %v and %v", got, owner)
			}
			for _, name := range []string{"contacts", "owners"} {
				if x, _ := r.ignored(name); len(x) > 0 {
					t.Errorf("it still lists %v", x)
				}
				r.same(name)
				r.exact(name)
			}
			r.Equal()

			// What a person lets in, or keeps out, is no change of HubSpot's.
			r.Choice = destination.Choice{Hash: []string{"email"}}
			again(files.Block)
			r.Current()
			r.Until(func(destination.Status) bool { return len(r.newest("contacts")["2"]["email"]) == 64 })
		})
	}
}

// Of what is paused a check changes nothing: it does not note what is ignored now.
func TestIgnoredWhilePaused(t *testing.T) {
	t.Parallel()
	r, _ := rested(t, iceberg.Options{SchemaChanges: files.Ignore})
	r.Define("contacts", "email string")
	r.Put("contacts", record("1", `{"email":"a"}`))
	r.Start()
	r.Current()
	if err := r.M.Pause("lake"); err != nil {
		t.Fatal(err)
	}
	r.Define("contacts", "email string", "born string")
	checked, err := r.M.Check(t.Context(), "lake")
	if err != nil || checked[0].Note != "" || !checked[0].Equal() {
		t.Errorf("it says %+v, %v", checked, err)
	}
	if x, _ := r.ignored("contacts"); len(x) > 0 {
		t.Errorf("it has noted %v", x)
	}
}
