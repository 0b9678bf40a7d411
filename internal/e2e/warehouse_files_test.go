package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// lake is a folder that a destination writes Parquet into, as a reader has it.
type lake struct {
	t   testing.TB
	dir string
}

// lakeTable is what a reader makes of a stream's files.
type lakeTable struct {
	Position uint64 `json:"position"`
	Files    []struct {
		Path, URL string
		Rows      uint64
		Snapshot  bool
	}
	Columns []struct{ Name, Type, Property string }

	rows   map[string]map[string]any // the newest of each record
	all    int                       // how many there are, superseded ones among them
	placed map[string]map[string]any // all of them, by record and place
}

// read reads what the manifest of a stream names, and nothing besides; nil where
// there is none yet. What it names has to be there, whole, and nothing twice.
func (l *lake) read(stream string) (*lakeTable, error) {
	b, err := os.ReadFile(filepath.Join(l.dir, stream, "_hubpipe", "latest.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := &lakeTable{rows: map[string]map[string]any{}, placed: map[string]map[string]any{}}
	if err == nil {
		err = json.Unmarshal(b, m)
	}
	if err != nil {
		return nil, err
	}
	changes := map[string]bool{}
	for _, f := range m.Files {
		n := uint64(0)
		if err := m.file(f.URL, func(row map[string]any) error {
			n++
			seq := row["_hubpipe_seq"].(json.Number).String()
			at := row["id"].(string) + " at " + seq
			if was, ok := m.placed[at]; ok && !reflect.DeepEqual(was, row) {
				return fmt.Errorf("%s stands in the files as %v and as %v", at, was, row)
			}
			if changes[at] && !f.Snapshot {
				return fmt.Errorf("%s was written twice", at)
			}
			changes[at] = changes[at] || !f.Snapshot
			if place, _ := strconv.ParseUint(seq, 10, 64); place > m.Position {
				return fmt.Errorf("%s lies behind the manifest's %d", at, m.Position)
			}
			m.placed[at] = row
			return nil
		}); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		if n != f.Rows {
			return nil, fmt.Errorf("%s has %d rows, the manifest says %d", f.Path, n, f.Rows)
		}
		m.all += int(n) //nolint:gosec // far below
	}
	return m, nil
}

// file reads one, by the names of properties, and keeps the newest rows.
func (m *lakeTable) file(path string, each func(row map[string]any) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f, err := parquet.OpenFile(file, info.Size())
	if err != nil {
		return err
	}
	names, types := map[string]string{}, map[string]string{}
	for _, c := range m.Columns {
		if names[c.Name] = c.Property; c.Property == "" {
			names[c.Name] = c.Name
		}
		types[c.Name] = c.Type
	}
	paths := f.Schema().Columns()
	for _, g := range f.RowGroups() {
		rows := g.Rows()
		defer func() { _ = rows.Close() }() // they were only read
		for buf := make([]parquet.Row, 1); ; {
			n, err := rows.ReadRows(buf)
			if n == 1 {
				row := map[string]any{}
				for _, v := range buf[0] {
					name := paths[v.Column()][0]
					if v.IsNull() {
						continue
					}
					if one := valueOf(types[name], v); types[name] == "list<string>" {
						list, _ := row[names[name]].([]any)
						row[names[name]] = append(list, one)
					} else {
						row[names[name]] = one
					}
				}
				id := row["id"].(string)
				if was, ok := m.rows[id]; !ok || seqIn(row) >= seqIn(was) {
					m.rows[id] = row
				}
				if err := each(row); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// haveVersions wants the newest row of each record, and of most of them older ones,
// in the files that have every version.
func (l *lake) haveVersions(stream string, now *lakeTable) error {
	b, err := os.ReadFile(filepath.Join(l.dir, stream, "_hubpipe", "versions.txt"))
	if err != nil {
		return err
	}
	versions := &lakeTable{Columns: now.Columns, rows: map[string]map[string]any{}}
	all := map[string]bool{}
	for path := range strings.Lines(string(b)) {
		if err := versions.file(strings.TrimSpace(path), func(row map[string]any) error {
			all[fmt.Sprint(row["id"], row["_hubpipe_seq"])] = true
			return nil
		}); err != nil {
			return err
		}
	}
	if len(all) <= len(now.rows) {
		return fmt.Errorf("%d versions of %d records of %s", len(all), len(now.rows), stream)
	}
	for id, row := range now.rows {
		if !all[fmt.Sprint(id, row["_hubpipe_seq"])] {
			return fmt.Errorf("the versions lack %s %s as it is now", stream, id)
		}
	}
	l.t.Logf("%s: %d versions", stream, len(all))
	return nil
}

func seqIn(row map[string]any) int64 {
	n, _ := row["_hubpipe_seq"].(json.Number).Int64()
	return n
}

// valueOf is a value as JSON would have it.
func valueOf(kind string, v parquet.Value) any {
	switch kind {
	case "double":
		return json.Number(strconv.FormatFloat(v.Double(), 'f', -1, 64))
	case "int64":
		return json.Number(strconv.FormatInt(v.Int64(), 10))
	case "boolean":
		return v.Boolean()
	case "date":
		return time.Unix(int64(v.Int32())*24*60*60, 0).UTC().Format(time.DateOnly)
	case "timestamp":
		return time.UnixMilli(v.Int64()).UTC().Format(time.RFC3339Nano)
	}
	return v.String()
}

// sameFiles holds what a reader makes of the files against the truth.
func (s *system) sameFiles(l *lake, object string) (*lakeTable, error) {
	m, err := l.read(object)
	if err == nil && m == nil {
		err = errors.New("no reader is shown anything")
	}
	if err != nil {
		return m, err
	}
	types := map[string]string{}
	words := map[string]string{"string": "text", "double": "numeric", "timestamp": "timestamptz"}
	for _, c := range m.Columns {
		if types[c.Property] = words[c.Type]; types[c.Property] == "" {
			types[c.Property] = c.Type
		}
	}
	return m, s.sameRows(object, maps.Clone(m.rows), types)
}

// Files, while the daemon is killed at any moment and ends between the steps of a
// commit: at every moment a reader finds whole commits, and in the end what
// HubSpot has, of each record the newest row.
func TestWarehouseFiles(t *testing.T) {
	t.Parallel()
	kills, rounds, most := 1, 1, 2
	if os.Getenv(warehouseVar) != "" {
		kills, rounds, most = 30, 8, 6
	}
	bin := withFailpoints(t)
	v := victimised(t)
	v.bin = bin
	l := &lake{t, filepath.Join(v.dir, "lake")}
	v.replace(`archived_interval = "3s"`, "archived_interval = \"3s\"\n  keep_versions = \"1d\"")
	v.more(fmt.Sprintf("destination \"files\" \"warehouse\" {\n  url = %q\n  flush_interval = \"1s\"\n  keep = \"1m\"\n  versions = true\n}\n", "file://"+l.dir))
	read := 0
	look := func() {
		t.Helper()
		v.faults++
		for _, object := range []string{"contacts", "deals"} {
			m, err := l.read(object)
			if err != nil {
				t.Errorf("after %d faults: %v", v.faults, err)
			}
			if m != nil {
				read++
			}
		}
	}
	for range rounds {
		for _, p := range []failpoint.Point{failpoint.Staged, failpoint.Manifest, failpoint.Delivered} {
			last := "HUBPIPE_FAILPOINT=" + string(p) + ":" + strconv.Itoa(1+v.rng.IntN(most))
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
		if i%3 == 0 { // and while a snapshot is written
			if _, err := v.hubpipe("destinations", "resync", "warehouse"); err != nil {
				t.Error(err)
			}
		}
		v.happens()
		v.pause(2 * time.Second)
		daemon.kill(syscall.SIGKILL)
		look()
		v.happens()
		daemon = v.ready()
	}
	v.exact(3*rounds+kills, 1800)
	d := v.delivered()
	for _, object := range []string{"contacts", "deals"} {
		until(t, object+" in the files", func() error { // they are shown a moment after they are committed
			m, err := v.sameFiles(l, object)
			if err == nil {
				t.Logf("%s: %d records, %d rows in %d files at %d", object, len(m.rows), m.all, len(m.Files), m.Position)
				err = l.haveVersions(object, m)
			}
			return err
		})
	}
	if out, err := v.hubpipe("destinations", "check", "warehouse"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%d rows written, %d faults; looked %d times", d.RowsWritten, v.faults, read)
	if os.Getenv(warehouseVar) != "" && read < kills {
		t.Errorf("readers were shown something %d times only", read)
	}
}
