package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// warehouseVar makes TestWarehouseKilled as hard as docs/RELIABILITY.md
// promises: `make warehouse`.
const warehouseVar = "HUBPIPE_WAREHOUSE"

// destination is how the one that these tests have stands.
func (s *system) destination() (client.Destination, error) { return s.destinationOf("warehouse") }

func (s *system) destinationOf(name string) (client.Destination, error) {
	out, err := s.hubpipe("destinations", name, "--output", "json")
	if err != nil {
		return client.Destination{}, err
	}
	var d client.Destination
	return d, json.Unmarshal([]byte(out), &d)
}

// delivered waits until the warehouse has all that the store has.
func (s *system) delivered() client.Destination { s.t.Helper(); return s.deliveredTo("warehouse") }

func (s *system) deliveredTo(name string) client.Destination {
	s.t.Helper()
	var d client.Destination
	until(s.t, "the "+name, func() (err error) {
		if d, err = s.destinationOf(name); err == nil && d.State != client.DestinationCurrent {
			err = fmt.Errorf("it is %s, %d behind: %s", d.State, d.Behind, says(d.Error))
		}
		return err
	})
	return d
}

func says(p *client.Problem) string {
	if p == nil {
		return "nothing is wrong"
	}
	return p.Error()
}

// inTable is a stream's table, each row as JSON. to_jsonb shows each value as its
// column's type has it.
func inTable(t testing.TB, pg *pgserver.Server, table string) map[string]map[string]any {
	t.Helper()
	rows := map[string]map[string]any{}
	for line := range strings.Lines(pg.SQL("", `SELECT to_jsonb(t) FROM hubspot."`+table+`" t`)) {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.UseNumber()
		var r map[string]any
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows[r["id"].(string)] = r
	}
	return rows
}

// sameTable holds a table against HubSpot's truth, value by value: each record
// once, in its state, and nothing besides. What ended before anybody saw it need
// not be there.
func (s *system) sameTable(pg *pgserver.Server, object string) error {
	types := map[string]string{}
	for line := range strings.Lines(pg.SQL("", "SELECT property, column_type FROM hubspot.hubpipe_properties WHERE stream = '"+object+"'")) {
		name, kind, _ := strings.Cut(strings.TrimSpace(line), "|")
		types[name] = kind
	}
	return s.sameRows(object, inTable(s.t, pg, object), types)
}

// sameRows holds rows by id, and the types of their columns, against the truth.
func (s *system) sameRows(object string, rows map[string]map[string]any, types map[string]string) error {
	truth, err := s.truth(object)
	if err != nil {
		return err
	}
	for id, want := range truth {
		got, ok := rows[id]
		bare := want.State == "purged" || want.State == "merged"
		if !ok && bare {
			continue
		}
		if !ok || got["_hubpipe_state"] != want.State {
			return fmt.Errorf("%s %s is %v in the table, %s in HubSpot", object, id, got["_hubpipe_state"], want.State)
		}
		for name, v := range want.Properties {
			if bare {
				v = nil
			}
			if !sameValue(v, got[name]) && (got[name] != nil || types[name] == "text" || parses(types[name], shown(v))) {
				return fmt.Errorf("%s %s: %s is %v in the table, %v in HubSpot", object, id, name, got[name], shown(v))
			}
		}
		delete(rows, id)
	}
	for id := range rows {
		return fmt.Errorf("%s %s stands in the table and was never in HubSpot", object, id)
	}
	return nil
}

func shown(v *string) string {
	if v == nil {
		return "null"
	}
	return *v
}

// parses tells whether a value is one of a column's type. HubSpot has some that
// are not, which are null in the table and listed.
func parses(kind, v string) bool {
	switch kind {
	case "numeric":
		_, ok := new(big.Rat).SetString(v)
		return ok
	case "boolean":
		return v == "true" || v == "false"
	case "date", "timestamptz":
		_, ok := moment(v)
		return ok
	}
	return true
}

// sameValue compares what HubSpot sends with what a typed column shows.
func sameValue(want *string, got any) bool {
	switch g := got.(type) {
	case nil:
		return want == nil || *want == ""
	case json.Number:
		a, ok := new(big.Rat).SetString(shown(want))
		b, okToo := new(big.Rat).SetString(g.String())
		return ok && okToo && a.Cmp(b) == 0
	case bool:
		return shown(want) == fmt.Sprint(g)
	case []any:
		parts := make([]string, len(g))
		for i := range g {
			parts[i] = fmt.Sprint(g[i])
		}
		return shown(want) == strings.Join(parts, ";")
	case string:
		if shown(want) == g {
			return true
		}
		a, ok := moment(shown(want))
		b, okToo := moment(g)
		return ok && okToo && a.Equal(b)
	}
	return false
}

// moment reads a time, a day, or the milliseconds that HubSpot sends for either.
func moment(v string) (time.Time, bool) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, v); err == nil {
			return t, true
		}
	}
	ms, err := strconv.ParseInt(v, 10, 64)
	return time.UnixMilli(ms), err == nil && len(v) > 9
}

// Backfill and changes as they come, into a real PostgreSQL, while the daemon is
// killed at any moment and PostgreSQL is, too: what stands in the tables is what
// HubSpot has, each record once, tombstones included.
func TestWarehouseKilled(t *testing.T) {
	t.Parallel()
	kills, restarts := 3, 1
	if os.Getenv(warehouseVar) != "" {
		kills, restarts = 30, 5
	}
	pg := pgserver.Start(t)
	v := victimised(t)
	v.replace(`archived_interval = "3s"`, "archived_interval = \"3s\"\n  keep_versions = \"1d\"")
	v.more(fmt.Sprintf("destination \"postgres\" \"warehouse\" {\n  url = %q\n  versions = true\n}\n", pg.URL("", "", "")))
	daemon, worker := v.ready(), v.worker()
	for i := range kills {
		v.happens()
		v.pause(1500 * time.Millisecond)
		daemon.kill(syscall.SIGKILL)
		v.happens()
		if i%(kills/restarts) == 0 {
			if v.rng.IntN(2) == 0 {
				pg.Kill()
			} else {
				pg.Down()
			}
			daemon = v.ready() // which does not wait for it
			v.happens()
			v.pause(time.Second)
			pg.Up()
		} else {
			daemon = v.ready()
		}
		v.faults++
	}
	_ = worker
	v.exact(kills, 1800)
	d := v.delivered()
	for _, object := range []string{"contacts", "deals"} {
		if err := v.sameTable(pg, object); err != nil {
			t.Error(err)
		}
	}
	if out, err := v.hubpipe("destinations", "check", "warehouse"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	sameVersions(t, pg, "contacts")
	if strings.Contains(daemon.log.String(), pgserver.Password) {
		t.Error("the log holds the password")
	}
	t.Logf("%d rows written for %s", d.RowsWritten, pg.SQL("", "SELECT (SELECT count(*) FROM hubspot.contacts) + (SELECT count(*) FROM hubspot.deals)"))

	// A table that was changed by hand is found, and mended.
	pg.SQL("", "UPDATE hubspot.contacts SET _hubpipe_state = 'archived' WHERE id = (SELECT min(id) FROM hubspot.contacts WHERE _hubpipe_state = 'live'); DELETE FROM hubspot.deals WHERE id = (SELECT min(id) FROM hubspot.deals)")
	pg.SQL("", "INSERT INTO hubspot.deals (id, _hubpipe_seq, _hubpipe_state) VALUES ('999999999999', 1, 'live')")
	if out, err := v.hubpipe("destinations", "check", "warehouse"); err == nil {
		t.Errorf("nothing is found:\n%s", out)
	}
	if _, err := v.hubpipe("destinations", "resync", "warehouse"); err != nil {
		t.Error(err)
	}
	until(t, "the resync", func() error {
		d, err := v.destination()
		if err != nil {
			return err
		}
		for _, s := range d.Streams {
			if s.Reread != nil {
				return errors.New("it goes on")
			}
		}
		out, err := v.hubpipe("destinations", "check", "warehouse")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	if got := strings.TrimSpace(pg.SQL("", "SELECT _hubpipe_state, _hubpipe_synced_at IS NULL FROM hubspot.deals WHERE id = '999999999999'")); got != "purged|t" {
		t.Errorf("the row that the store never had is %s", got)
	}
}

// sameVersions holds a table of versions against the table of what is.
func sameVersions(t *testing.T, pg *pgserver.Server, table string) {
	t.Helper()
	query := strings.NewReplacer("$v", "hubspot."+table+"__versions", "$t", "hubspot."+table).Replace(`SELECT
		(SELECT count(*) FROM $t t LEFT JOIN $v v ON v.id = t.id AND v._hubpipe_current
			WHERE v.id IS NULL OR v._hubpipe_seq <> t._hubpipe_seq OR v.email IS DISTINCT FROM t.email),
		(SELECT count(*) FROM $v WHERE _hubpipe_current <> (valid_to IS NULL) OR valid_to < valid_from),
		(SELECT count(*) FROM (SELECT id FROM $v GROUP BY id HAVING count(*) FILTER (WHERE _hubpipe_current) <> 1) x),
		(SELECT count(*) FROM $t t JOIN $v v ON v.id = t.id WHERE t._hubpipe_state IN ('purged', 'merged') AND v.email IS NOT NULL),
		(SELECT count(*) FROM $v) >= (SELECT count(*) FROM $t)`)
	if got := strings.TrimSpace(pg.SQL("", query)); got != "0|0|0|0|t" {
		t.Errorf("versions of %s: %s", table, got)
	}
}

// The daemon dies between the steps of a batch: before the warehouse has
// committed it, and after, when nobody has heard of that.
func TestWarehouseFailpoints(t *testing.T) {
	t.Parallel()
	bin := withFailpoints(t)
	pg := pgserver.Start(t)
	rounds := 2
	if os.Getenv(warehouseVar) != "" {
		rounds = 8
	}
	v := victimised(t)
	v.bin = bin
	v.more(fmt.Sprintf("destination \"postgres\" \"warehouse\" {\n  url = %q\n}\n", pg.URL("", "", "")))
	for range rounds {
		for _, p := range []failpoint.Point{failpoint.Staged, failpoint.Delivered} {
			last := "HUBPIPE_FAILPOINT=" + string(p) + ":" + strconv.Itoa(1+v.rng.IntN(6))
			daemon := runWith(t, v.dir, bin, []string{last}, "daemon")
			worker := v.worker()
			until(t, "the end at "+last, func() error {
				if daemon.running() {
					v.happens() // so that there is a batch to die of
					return errors.New("it still runs")
				}
				return nil
			})
			v.faults++
			worker.kill(syscall.SIGKILL)
		}
	}
	v.ready()
	v.worker()
	v.exact(2*rounds, 1800)
	v.delivered()
	for _, object := range []string{"contacts", "deals"} {
		if err := v.sameTable(pg, object); err != nil {
			t.Error(err)
		}
	}
}

// The demo copies into a PostgreSQL, and what it proposes to ask has an answer.
// A second demo does not stumble over the first one's tables.
func TestWarehouseDemo(t *testing.T) {
	t.Parallel()
	bin := build(t)
	pg := pgserver.Start(t)
	for round := range 2 {
		cmd := exec.CommandContext(t.Context(), bin, "demo", "--once", "--postgres", "env:DW")
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "DW="+pg.URL("", "", ""))
		out, err := cmd.CombinedOutput()
		_, query, said := strings.Cut(string(out), "ask it, for example:\n")
		if err != nil || !said || strings.Contains(string(out), pgserver.Password) {
			t.Fatalf("round %d: %v\n%s", round, err, out)
		}
		if answer := pg.SQL("", query); strings.Count(answer, "\n") < 3 {
			t.Errorf("%s\nhas the answer\n%s", query, answer)
		} else if round == 0 {
			t.Log(answer)
		}
		if n := strings.TrimSpace(pg.SQL("", "SELECT count(*) > 100, count(DISTINCT stream) FROM hubpipe_demo.hubpipe_property_options")); n != "t|4" {
			t.Errorf("options: %s", n)
		}
	}
}
