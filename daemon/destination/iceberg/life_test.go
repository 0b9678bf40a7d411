//go:build iceberg

package iceberg_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	ice "github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/iceberg"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// fill puts records from and up to a number, of which each has its number.
func (r *rig) fill(from, to int) {
	r.t.Helper()
	var list []*stream.Record
	for i := from; i < to; i++ {
		list = append(list, record(fmt.Sprint(i), fmt.Sprintf(`{"n":"%d"}`, i)))
	}
	r.Put("contacts", list...)
}

// Commits fail before the catalogue has heard of them, and behind it, when the
// answer is lost: each row comes once.
func TestLostCommits(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, c := rested(t, iceberg.Options{Mode: mode})
			c.fails(func(n int) fault { return fault{before: n%3 == 1, after: n%3 == 2} })
			r.Start()
			for i := range 6 {
				r.fill(10*i, 10*i+20) // half of them are there already
				r.Current()
			}
			s := r.Current()
			if s.Failures == 0 {
				t.Error("no commit has failed")
			}
			c.fails(nil)
			r.whole()
			if rows := len(r.rows("contacts")); mode == iceberg.Append && s.Streams[0].Place.Rows != uint64(rows) {
				t.Errorf("the table has %d rows, and %d were counted", rows, s.Streams[0].Place.Rows)
			}
		})
	}
}

// A process that ends between files and commit, or behind the commit before it has
// heard of it, leaves a table that the next one goes on with.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, c := rested(t, iceberg.Options{Mode: mode})
			for i, f := range []fault{{before: true}, {after: true}, {}} {
				c.fails(func(int) fault { return f })
				r.fill(10*i, 10*i+30)
				r.Start()
				if f == (fault{}) {
					r.Current()
				} else {
					r.Until(func(s destination.Status) bool { return s.Failures > 0 })
				}
				r.Stop()
			}
			c.fails(nil)
			r.Start()
			r.whole()
		})
	}
}

// Of two who write to one table one is refused, and the rows stay right, also where
// the table's owner wants commits to be tried again.
func TestTwoWriters(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode})
			r.fill(0, 1)
			d := r.session()
			d.write(0) // the columns fit from now on
			r.set("contacts", ice.Properties{"commit.retry.num-retries": "4"})
			r.fill(1, 50)
			one, two := r.session(), r.session()
			one.write(d.place.Position)
			two.refused(d.place.Position)
			r.fill(40, 60)
			two.prepare()
			if two.place.Position == d.place.Position {
				t.Error("it does not see what the other has written")
			}
			two.write(two.place.Position)
			if _, err := one.s.Reread(t.Context(), "contacts", destination.Reread{Reason: destination.ReasonResync}); err == nil {
				t.Error("one begins a rereading of a table that is not as it was read")
			}
			r.Start()
			r.whole()
		})
	}
}

func problem(err error) *stream.Problem {
	p, ok := err.(*stream.Problem) //nolint:errorlint // a session's errors are
	if !ok {
		return &stream.Problem{Detail: fmt.Sprint(err)}
	}
	return p
}

// direct is a session that a test does each step of by itself.
type direct struct {
	r     *rig
	s     destination.Gatherer
	place destination.Place
}

func (r *rig) session() *direct { r.t.Helper(); return r.sessionOf(iceberg.New(r.o)) }

func (r *rig) sessionOf(e *iceberg.Engine) *direct {
	r.t.Helper()
	s, err := e.Connect(r.t.Context(), destination.Origin{Store: r.Src.ID(), Epoch: r.Src.Epoch()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(s.Close)
	d := &direct{r: r, s: s.(destination.Gatherer)} //nolint:forcetypeassert // a test
	d.prepare()
	return d
}

func (d *direct) step(p destination.Place, err error) {
	d.r.t.Helper()
	if err != nil {
		d.r.t.Fatal(err)
	}
	d.place = p
}

func (d *direct) prepare() {
	d.r.t.Helper()
	d.step(d.s.Prepare(d.r.t.Context(), destination.Table{Stream: d.r.Streams[0], Head: d.r.Src.PositionOf("contacts")}))
}

// take gives what follows a place to the session, or to its rereading.
func (d *direct) take(since uint64) error {
	d.r.t.Helper()
	again := d.place.Reread != nil
	var records []*stream.Record
	to, err := d.r.Src.Changes(d.r.t.Context(), "contacts", since, 0, func(rec *stream.Record) error {
		if !again || rec.Seq <= d.place.Reread.Until {
			records = append(records, rec)
		}
		return nil
	})
	if err != nil {
		d.r.t.Fatal(err)
	}
	if again {
		to = d.place.Reread.Until
	}
	p, err := d.s.Write(d.r.t.Context(), "contacts", &destination.Batch{Packed: d.s.Pack("contacts", records), Count: len(records), Place: d.place, To: to, Reread: again})
	if err == nil {
		d.place = p
	}
	return err
}

func (d *direct) write(since uint64) {
	d.r.t.Helper()
	if err := d.take(since); err != nil {
		d.r.t.Fatal(err)
	}
	d.step(d.s.Flush(d.r.t.Context(), "contacts"))
}

// refused has the session write what another one has written meanwhile.
func (d *direct) refused(since uint64) {
	d.r.t.Helper()
	if err := d.take(since); err != nil {
		d.r.t.Fatal(err)
	}
	if _, err := d.s.Flush(d.r.t.Context(), "contacts"); err == nil {
		d.r.t.Fatal("both have committed")
	} else if p := problem(err); p.Type != "destination-foreign" {
		d.r.t.Errorf("it says %+v", p)
	}
}

func (d *direct) reread(head uint64) {
	d.r.t.Helper()
	d.step(d.s.Reread(d.r.t.Context(), "contacts", destination.Reread{Reason: destination.ReasonResync, Until: head, Sweep: true}))
}

// Properties come, change their type and are hashed: columns come, become others,
// and nothing of before is left in the table.
func TestDrift(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode})
			r.Define("contacts", "email string", "n number")
			r.Put("contacts", record("1", `{"email":"a@example.com","n":"1"}`), record("2", `{"email":"b","n":"2"}`))
			r.Start()
			r.Current()
			r.Define("contacts", "email string", "n string", "more date")
			r.Put("contacts", record("2", `{"email":"b","n":"two","more":"2026-01-01"}`))
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.newest("contacts")["1"]["n"] == "1" && r.newest("contacts")["2"]["n"] == "two"
			})
			r.Equal()
			if x := r.newest("contacts")["2"]; x["more"] != "2026-01-01" {
				t.Errorf("the row is %v", x)
			}
			r.Stop()
			id := func() (id int) {
				r.look("contacts", func(tbl *table.Table) {
					f, _ := tbl.Schema().FindFieldByName("email")
					id = f.ID
				})
				return id
			}
			plain := id()
			r.Choice = destination.Choice{Hash: []string{"email"}}
			r.Start()
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && len(r.newest("contacts")["1"]["email"]) == 64
			})
			if id() == plain {
				t.Error("the column with the plain values was kept until they were replaced")
			}
			r.Equal()
			for _, x := range r.rows("contacts") {
				if strings.Contains(x["email"], "@") {
					t.Errorf("a row has %v", x)
				}
			}
			// What has no definitions, and comes to be something else.
			r.Define("contacts")
			r.Put("contacts", record("3", `{"loose":1}`))
			r.Current()
			r.Put("contacts", record("4", `{"loose":"word"}`))
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && r.newest("contacts")["3"]["loose"] == "1" && r.newest("contacts")["4"]["loose"] == "word"
			})
			r.Equal()
		})
	}
}

// Another way to write the table makes it one row a record.
func TestModeChanges(t *testing.T) {
	t.Parallel()
	r, _ := rested(t, iceberg.Options{Mode: iceberg.Append})
	r.fill(0, 10)
	r.Start()
	r.Current()
	r.fill(5, 15)
	r.Current()
	r.Stop()
	r.o.Mode = iceberg.Upsert
	r.Start()
	r.Current()
	r.fill(0, 3)
	r.whole()
}

// A later life of the store sweeps the table of what it has not.
func TestEpoch(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := serve(t)
			r := c.rig(iceberg.Options{Mode: mode})
			r.fill(0, 10)
			r.Start()
			r.Current()
			r.Stop()
			r.Src.Become("", 1)
			r.fill(20, 22)
			r.Start()
			r.Until(func(s destination.Status) bool {
				return s.State == destination.Current && s.Streams[0].Place.Rows >= 22
			})
			r.Equal()
			r.same("contacts")
			r.Stop()
			other := c.rig(iceberg.Options{Mode: mode})
			other.fill(0, 1)
			other.Start()
			s := other.Until(func(s destination.Status) bool { return s.Error != nil })
			if s.State != destination.Blocked || s.Error.Type != "destination-foreign" {
				t.Errorf("to another store's tables it is %s: %+v", s.State, s.Error)
			}
		})
	}
}

// A table that is somebody else's is left alone, and what is wrong is said.
func TestProblems(t *testing.T) {
	t.Parallel()
	r, _ := rested(t, iceberg.Options{Namespace: "crm"})
	r.fill(0, 1)
	c, done := r.open()
	if err := c.CreateNamespace(t.Context(), []string{"crm"}, nil); err != nil {
		t.Fatal(err)
	}
	schema := ice.NewSchema(0, ice.NestedField{ID: 1, Name: "x", Type: ice.PrimitiveTypes.String})
	if _, err := c.CreateTable(t.Context(), []string{"crm", "contacts"}, schema, catalog.WithProperties(ice.Properties{"owner": "me"})); err != nil {
		t.Fatal(err)
	}
	done()
	r.Start()
	s := r.Until(func(s destination.Status) bool { return s.Error != nil })
	if s.State != destination.Blocked || s.Error.Type != "destination-foreign" {
		t.Errorf("it is %s: %+v", s.State, s.Error)
	}
	r.Stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	r.o.URI = "http://" + l.Addr().String()
	r.Start()
	if s = r.Until(func(s destination.Status) bool { return s.Error != nil }); s.Error.Type != "destination-unreachable" {
		t.Errorf("it says %+v", s.Error)
	}
}

// Whatever a server sends back, no credential is in what is said of it.
func TestNoSecretsInProblems(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusBadRequest, "Odd", "the client canary-id has secret canary-key, and came with canary-header and a canary-property")
	}))
	t.Cleanup(s.Close)
	r := newRig(t, iceberg.Options{Catalog: iceberg.REST, Token: "canary-token", Credential: "canary-id:canary-key",
		Properties: map[string]string{"header.Authorization": "canary-header", "sas": "canary-property"}})
	r.o.URI = s.URL
	r.Start()
	p := r.Until(func(s destination.Status) bool { return s.Error != nil }).Error
	if !strings.Contains(p.Detail, "has secret") || strings.Contains(fmt.Sprint(p.Title, p.Detail, p.Hint), "canary") {
		t.Errorf("it says %+v", p)
	}
}

// A property's name that is long, and has dots, is a column's that readers take.
func TestLongNames(t *testing.T) {
	t.Parallel()
	_, names := iceberg.New(iceberg.Options{}).Names("contacts", []string{strings.Repeat("a.", 127), strings.Repeat("ö.", 85)})
	for _, name := range names {
		if len(name) > 255 || !utf8.ValidString(name) || strings.Contains(name, ".") {
			t.Errorf("a column is %d bytes: %s", len(name), name)
		}
	}
}

// A record that changes while what came before waits for its commit stands in the
// table once.
func TestChangesInOneCommit(t *testing.T) {
	t.Parallel()
	r, _ := rested(t, iceberg.Options{Mode: iceberg.Upsert})
	r.fill(0, 10)
	d := r.session()
	if err := d.take(0); err != nil {
		t.Fatal(err)
	}
	r.fill(5, 12)
	if err := d.take(d.place.Held); err != nil {
		t.Fatal(err)
	}
	d.step(d.s.Flush(t.Context(), "contacts"))
	r.same("contacts")
	r.Start()
	r.Current()
	r.Equal()
}

// A summary of somebody else's, which need not have totals, does not make a filled
// table empty.
func TestSummaryWithoutTotals(t *testing.T) {
	t.Parallel()
	r, c := rested(t, iceberg.Options{Mode: iceberg.Upsert})
	r.fill(0, 10)
	d := r.session()
	d.write(0)
	totals := regexp.MustCompile(`"total-data-files":"[0-9]+",`)
	b, err := os.ReadFile(c.tables["contacts"])
	if err != nil || !totals.Match(b) {
		t.Fatalf("the metadata is %s, %v", b, err)
	}
	if err := os.WriteFile(c.tables["contacts"], totals.ReplaceAll(b, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	d.prepare()
	d.reread(d.place.Position) // a commit without rows
	d.place.Reread = nil
	r.fill(5, 12)
	d.write(d.place.Position)
	r.same("contacts")
}

// A column that somebody has added stays, when a property of its name comes, too.
func TestOthersColumnStays(t *testing.T) {
	t.Parallel()
	for _, kind := range []ice.PrimitiveType{ice.PrimitiveTypes.Int32, ice.PrimitiveTypes.String} {
		t.Run(kind.Type(), func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{})
			r.Define("contacts", "n string")
			r.fill(0, 5)
			r.Start()
			r.Current()
			change := func(fn func(*table.UpdateSchema)) {
				r.look("contacts", func(tbl *table.Table) {
					tx := tbl.NewTransaction()
					u := tx.UpdateSchema(true, false)
					fn(u)
					if err := u.Commit(); err != nil {
						t.Fatal(err)
					}
					if _, err := tx.Commit(t.Context()); err != nil {
						t.Fatal(err)
					}
				})
			}
			change(func(u *table.UpdateSchema) { u.AddColumn([]string{"region"}, kind, "mine", false, nil) })
			r.Define("contacts", "n string", "region string")
			r.Put("contacts", record("9", `{"n":"9","region":"north"}`))
			s := r.Until(func(s destination.Status) bool { return s.State == destination.Blocked })
			if !strings.Contains(s.Error.Detail, "region") {
				t.Errorf("it says %+v", s.Error)
			}
			r.look("contacts", func(tbl *table.Table) {
				if f, ok := tbl.Schema().FindFieldByName("region"); !ok || f.Doc != "mine" || !f.Type.Equals(kind) {
					t.Errorf("the column is %+v", f)
				}
			})
			change(func(u *table.UpdateSchema) {
				u.UpdateColumn([]string{"region"}, table.ColumnUpdate{Name: ice.Optional[string]{Val: "my_region", Valid: true}})
			})
			r.whole()
		})
	}
}

// What is taken in with columns as they were is committed before they change.
func TestColumnsComeMeanwhile(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r, _ := rested(t, iceberg.Options{Mode: mode})
			r.Put("contacts", record("1", `{"a":1}`))
			d := r.session()
			if err := d.take(0); err != nil {
				t.Fatal(err)
			}
			r.Put("contacts", record("2", `{"a":2,"b":"x"}`))
			if err := d.take(d.place.Held); err != nil {
				t.Fatal(err)
			}
			d.step(d.s.Flush(t.Context(), "contacts"))
			if x := r.newest("contacts"); len(x) != 2 || x["1"]["a"] != "1" || x["2"]["a"] != "2" || x["2"]["b"] != "x" {
				t.Errorf("the table has %v", x)
			}
			d.reread(d.place.Position)
			d.write(0)
			if d.place.Reread == nil || d.place.Reread.Position != d.place.Position {
				t.Fatalf("the rereading is at %+v", d.place.Reread)
			}
			r.Put("contacts", record("3", `{"a":"text","c":true}`))
			d.place.Reread = nil
			d.write(d.place.Position)
			if d.place.Reread == nil || d.place.Reread.Position != 0 {
				t.Fatalf("a column has another type, and the rereading goes on at %+v", d.place.Reread)
			}
			r.Start()
			r.Current()
			r.Equal()
			if x := r.newest("contacts"); x["1"]["a"] != "1" || x["2"]["b"] != "x" || x["3"]["a"] != "text" || x["3"]["c"] != "true" {
				t.Errorf("the table has %v", x)
			}
		})
	}
}
