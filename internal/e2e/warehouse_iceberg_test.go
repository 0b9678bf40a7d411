//go:build iceberg

package e2e

import (
	"context"
	gosql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/catalog/sql"
	gocmp "github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib" // the catalogue's database

	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// iceTable is what a reader makes of a table of Iceberg.
type iceTable struct {
	position uint64
	rows     map[string]map[string]any // the newest of each record, by the names of properties
	types    map[string]string         // and of what type those are
	all      int                       // superseded ones among them
}

// iceReader reads the tables of a namespace, as anybody may.
type iceReader struct {
	c         *sql.Catalog
	namespace string
	once      bool // a record has one row
}

func (l *iceReader) read(ctx context.Context, stream string) (*iceTable, error) {
	tbl, err := l.c.LoadTable(ctx, []string{l.namespace, stream})
	if errors.Is(err, catalog.ErrNoSuchTable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	snap := tbl.CurrentSnapshot()
	if snap == nil {
		return nil, nil
	}
	var state struct {
		Columns []struct{ Name, Type, Property string }
	}
	if err := json.Unmarshal([]byte(tbl.Properties()["hubpipe.state"]), &state); err != nil {
		return nil, err
	}
	m := &iceTable{rows: map[string]map[string]any{}, types: map[string]string{}}
	if m.position, err = strconv.ParseUint(snap.Summary.Properties["hubpipe.position"], 10, 64); err != nil {
		return nil, err
	}
	properties, words := map[string]string{}, map[string]string{"string": "text", "double": "numeric", "timestamp": "timestamptz"}
	for _, c := range state.Columns {
		if properties[c.Name] = c.Property; c.Property == "" {
			properties[c.Name] = c.Name
		}
		if m.types[c.Property] = words[c.Type]; m.types[c.Property] == "" {
			m.types[c.Property] = c.Type
		}
	}
	scan := tbl.Scan()
	defer func() { _ = scan.Close() }() // it was only read
	_, batches, err := scan.ToArrowRecords(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for b, err := range batches {
		if err != nil {
			return nil, err
		}
		for i := range int(b.NumRows()) {
			row := map[string]any{}
			for j, col := range b.Columns() {
				if name := properties[b.ColumnName(j)]; !col.IsNull(i) {
					row[name] = arrowValue(col, i)
				}
			}
			if err := m.take(row, seen, l.once); err != nil {
				b.Release()
				return nil, fmt.Errorf("%s of %s: %w", stream, l.namespace, err)
			}
		}
		b.Release()
	}
	return m, nil
}

// haveVersions wants the newest row of each record, and of some of them older ones,
// in the table that has every version.
func (l *iceReader) haveVersions(t testing.TB, stream string, now *iceTable) error {
	t.Helper()
	versions, err := (&iceReader{l.c, l.namespace, false}).read(t.Context(), stream+"__versions")
	if err != nil {
		return err
	}
	if versions == nil || versions.all < len(now.rows) || stream == "contacts" && versions.all == len(now.rows) {
		return fmt.Errorf("%+v are the versions of %d records of %s", versions, len(now.rows), stream)
	}
	for id, row := range now.rows {
		if d := gocmp.Diff(row, versions.rows[id]); d != "" {
			return fmt.Errorf("of the versions the newest of %s %s is not as it is now: %s", stream, id, d)
		}
	}
	t.Logf("%s: %d versions", stream, versions.all)
	return nil
}

// take adds a row, which has to be there once and not to lie behind the place that
// the table says it has.
func (m *iceTable) take(row map[string]any, seen map[string]bool, once bool) error {
	id, seq := fmt.Sprint(row["id"]), seqIn(row)
	at := fmt.Sprint(id, " at ", seq)
	was, ok := m.rows[id]
	if seen[at] || ok && once {
		return fmt.Errorf("%s stands there twice", at)
	}
	if seq < 1 || uint64(seq) > m.position {
		return fmt.Errorf("%s lies behind the table's %d", at, m.position)
	}
	seen[at] = true
	if !ok || seq > seqIn(was) {
		m.rows[id] = row
	}
	m.all++
	return nil
}

// arrowValue is a value as JSON would have it.
func arrowValue(col arrow.Array, i int) any {
	switch c := col.(type) {
	case *array.Float64:
		return json.Number(strconv.FormatFloat(c.Value(i), 'f', -1, 64))
	case *array.Int64:
		return json.Number(strconv.FormatInt(c.Value(i), 10))
	case *array.Boolean:
		return c.Value(i)
	case *array.Date32:
		return c.Value(i).ToTime().Format(time.DateOnly)
	case *array.Timestamp:
		return c.Value(i).ToTime(arrow.Microsecond).Format(time.RFC3339Nano)
	case *array.List:
		var out []any
		from, to := c.ValueOffsets(i)
		for ; from < to; from++ {
			out = append(out, c.ListValues().ValueStr(int(from)))
		}
		return out
	}
	return col.ValueStr(i)
}

// Tables of Iceberg in both modes, while the daemon is killed at any moment and ends
// between the steps of a commit: at every moment a reader finds whole commits, and
// in the end what HubSpot has, each version once, and with upsert each record. The
// tables of versions have each of them, too.
func TestWarehouseIceberg(t *testing.T) {
	t.Parallel()
	kills, rounds, most := 3, 1, 2
	if os.Getenv(warehouseVar) != "" {
		kills, rounds, most = 30, 8, 6
	}
	bin := withFailpoints(t, "iceberg")
	pg := pgserver.Start(t)
	v := victimised(t)
	v.bin = bin
	warehouse := "file://" + filepath.Join(v.dir, "lake")
	modes := map[string]string{"warehouse": "append", "second": "upsert"}
	v.replace(`archived_interval = "3s"`, "archived_interval = \"3s\"\n  keep_versions = \"1d\"")
	for name, mode := range modes {
		v.more(fmt.Sprintf("destination \"iceberg\" %q {\n  catalog = \"sql\"\n  catalog_name = \"lake\"\n  uri = %q\n  warehouse = %q\n  namespace = %q\n  mode = %q\n  flush_interval = \"1s\"\n  versions = true\n}\n",
			name, pg.URL("", "", ""), warehouse, mode, mode))
	}
	db, err := gosql.Open("pgx", pg.URL("", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	c, err := sql.NewCatalog("lake", db, sql.Postgres, iceberg.Properties{"warehouse": warehouse})
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	look := func() {
		t.Helper()
		v.faults++
		for _, mode := range modes {
			for _, name := range []string{"contacts", "deals", "contacts__versions", "deals__versions"} {
				l := &iceReader{c, mode, mode == "upsert" && !strings.Contains(name, "__")}
				m, err := l.read(t.Context(), name)
				if err != nil {
					t.Errorf("after %d faults: %v", v.faults, err)
				}
				if m != nil {
					read++
				}
			}
		}
	}
	for range rounds {
		for _, p := range []failpoint.Point{failpoint.Staged, failpoint.Delivered} {
			last := "HUBPIPE_FAILPOINT=" + string(p) + ":" + strconv.Itoa(1+v.rng.IntN(4*most))
			daemon, worker := runWith(t, v.dir, bin, []string{last}, "daemon"), v.worker()
			until(t, "the end at "+last, func() error {
				if daemon.running() {
					v.happens() // so that there is a batch to die of
					return errors.New("it still runs")
				}
				return nil
			})
			if s, ok := daemon.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
				t.Fatalf("at %s it ended with %s:\n%s", last, daemon.cmd.ProcessState, tail(daemon.log.String()))
			}
			worker.kill(syscall.SIGKILL)
			look()
		}
	}
	daemon := v.ready()
	v.worker()
	for i := range kills {
		if i%3 == 0 { // and while everything is written anew
			for name := range modes {
				if _, err := v.hubpipe("destinations", "resync", name); err != nil {
					t.Error(err)
				}
			}
		}
		v.happens()
		v.pause(2 * time.Second)
		daemon.kill(syscall.SIGKILL)
		look()
		v.happens()
		daemon = v.ready()
	}
	v.exact(2*rounds+kills, 1800)
	for name, mode := range modes {
		d := v.deliveredTo(name)
		l := &iceReader{c, mode, mode == "upsert"}
		for _, object := range []string{"contacts", "deals"} {
			m, err := l.read(t.Context(), object)
			if err == nil {
				err = v.sameRows(object, m.rows, m.types)
			}
			if err != nil {
				t.Errorf("%s: %v", mode, err)
				continue
			}
			t.Logf("%s %s: %d rows at %d", mode, object, m.all, m.position)
			if err := l.haveVersions(t, object, m); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		}
		if out, err := v.hubpipe("destinations", "check", name); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		t.Logf("%s: %d rows written, %d faults; looked %d times", mode, d.RowsWritten, v.faults, read)
	}
	if strings.Contains(daemon.log.String(), pgserver.Password) {
		t.Error("the log holds the password")
	}
	if os.Getenv(warehouseVar) != "" && read < kills {
		t.Errorf("readers were shown something %d times only", read)
	}
}
