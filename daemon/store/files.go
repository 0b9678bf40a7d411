package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"

	"github.com/hubpipe/hubpipe/internal/durable"
)

// Badger trusts its files: what is cut ends the process when it is read through
// a map, a table that does not decode panics in a goroutine of Badger's, a
// MANIFEST that is cut has it delete the tables that are no longer named. So
// files are looked at before Badger is.

const (
	manifestFile = "MANIFEST"
	registryFile = "KEYREGISTRY"
	discardFile  = "DISCARD"
	// logHeader is how value logs and memtables' logs begin: eight bytes name a
	// key of encryption, 0 where there is none, as here.
	logHeader = 20
)

// fault is one file that is not as it has to be.
type fault struct {
	file, what string
	// trifle says that nothing is lost with it.
	trifle bool
}

func (f fault) String() string { return f.file + " " + f.what }

// faults looks at Badger's files as they lie there; a is what the anchor knows
// of them. lost counts the commits that are missing between others.
func faults(dir string, a anchor) (out []fault, lost uint64, err error) {
	files, err := tableFiles(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	wanted, manifest := manifestTables(dir, files, a)
	if manifest != nil {
		out = append(out, *manifest)
	}
	var buf []byte
	newest := uint64(0) // of the tables
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var f *fault
		var version uint64
		switch filepath.Ext(name) {
		case ".sst":
			if !wanted[name] && manifest == nil {
				continue // half written when we ended; Badger lets it go
			}
			delete(wanted, name)
			buf, version, f = checkTable(filepath.Join(dir, name), buf)
			newest = max(newest, version)
		case ".vlog", ".mem":
			f = checkLog(filepath.Join(dir, name))
		}
		if f != nil {
			out = append(out, *f)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		out = append(out, fault{file: name, what: "is missing"})
	}
	if lost, err = lostBetween(dir, files, newest); err != nil {
		return nil, 0, fmt.Errorf("read the store's logs: %w", err)
	}
	return append(out, trifles(dir)...), lost, nil
}

// manifestTables reads which tables there should be.
func manifestTables(dir string, files map[string]int64, a anchor) (map[string]bool, *fault) {
	size, there := files[manifestFile]
	if !there {
		if len(files) == 0 {
			return nil, nil
		}
		return nil, &fault{file: manifestFile, what: "is missing"}
	}
	f, err := os.Open(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, &fault{file: manifestFile, what: "cannot be read: " + err.Error()}
	}
	defer f.Close()
	m, end, err := badger.ReplayManifestFile(f, 0, badgerOptions(dir, nil))
	if err != nil {
		return nil, &fault{file: manifestFile, what: "is damaged"}
	}
	wanted := map[string]bool{}
	for id := range m.Tables {
		wanted[table.IDToFilename(id)] = true
	}
	if end >= a.Manifest && (end == size || !a.Clean) {
		return wanted, nil
	}
	// Badger goes by the part that it can read, and deletes tables that only
	// the rest names.
	for name := range files {
		if filepath.Ext(name) == ".sst" && !wanted[name] {
			return nil, &fault{file: manifestFile, what: "is cut or damaged"}
		}
	}
	return wanted, nil
}

// checkTable reads a whole table, in memory: nothing of it is mapped. It gives
// the buffer back, and the number of the newest transaction in it.
func checkTable(path string, buf []byte) (_ []byte, version uint64, f *fault) {
	bad := &fault{file: filepath.Base(path), what: "is damaged"}
	buf, err := readFile(path, buf)
	if err != nil {
		bad.what = "cannot be read: " + err.Error()
		return buf, 0, bad
	}
	id, ok := table.ParseFileID(path)
	if !ok {
		return buf, 0, nil
	}
	defer func() {
		if recover() != nil {
			f = bad
		}
	}()
	t, err := table.OpenInMemoryTable(buf, id, &table.Options{BlockSize: 4 << 10, ChkMode: options.NoVerification})
	if err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return buf, 0, bad
	}
	return buf, t.MaxVersion(), nil
}

func readFile(path string, buf []byte) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	b := bytes.NewBuffer(buf[:0])
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}

func checkLog(path string) *fault {
	f, err := os.Open(path)
	if err != nil {
		return &fault{file: filepath.Base(path), what: "cannot be read: " + err.Error()}
	}
	defer f.Close()
	var head [logHeader]byte
	if n, _ := f.Read(head[:]); n < len(head) {
		return &fault{file: filepath.Base(path), what: "is cut"}
	}
	if binary.BigEndian.Uint64(head[:]) != 0 {
		return &fault{file: filepath.Base(path), what: "begins with damage"}
	}
	return nil
}

// trifles are files that Badger makes anew where they are missing.
func trifles(dir string) (out []fault) {
	const sane = "Hello Badger" // behind 16 bytes that say nothing without encryption
	if b, err := os.ReadFile(filepath.Join(dir, registryFile)); err == nil && (len(b) != 16+len(sane) || !strings.HasSuffix(string(b), sane)) {
		out = append(out, fault{file: registryFile, what: "is damaged", trifle: true})
	}
	// How much of each value log is superseded: it has no sum. Too much of it
	// costs a rewriting that finds nothing to do; a size that it never has, a
	// crash.
	if info, err := os.Stat(filepath.Join(dir, discardFile)); err == nil && (info.Size() < 1<<20 || info.Size()%16 != 0) {
		out = append(out, fault{file: discardFile, what: "is cut", trifle: true})
	}
	return out
}

// mendFiles makes of a folder with faults one that Badger opens: what is
// damaged is moved to aside, and a MANIFEST is made of the tables that are
// whole. All of them stand at level 0, where each is looked at and the newest
// version of a key counts.
func mendFiles(dir string, found []fault, aside string) error {
	rebuild := false
	for _, f := range found {
		path := filepath.Join(dir, f.file)
		switch ext := filepath.Ext(f.file); {
		case f.trifle:
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove %s: %w", f.file, err)
			}
			continue
		case (ext == ".vlog" || ext == ".mem") && f.what != "is cut":
			if err := zeroHeader(path); err != nil {
				return fmt.Errorf("mend %s: %w", f.file, err)
			}
			continue
		case ext == ".sst", f.file == manifestFile:
			rebuild = true
		}
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return fmt.Errorf("make a folder for what is damaged: %w", err)
		}
		if err := os.Rename(path, filepath.Join(aside, f.file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("move %s aside: %w", f.file, err)
		}
	}
	if !rebuild {
		return nil
	}
	return writeManifest(dir)
}

func zeroHeader(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 8), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

// writeManifest makes a MANIFEST that names every table in the folder.
func writeManifest(dir string) error {
	files, err := tableFiles(dir)
	if err != nil {
		return err
	}
	set := &pb.ManifestChangeSet{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if id, ok := table.ParseFileID(name); ok && filepath.Ext(name) == ".sst" {
			set.Changes = append(set.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE, Compression: uint32(options.None)})
		}
	}
	body, err := proto.Marshal(set)
	if err != nil {
		return fmt.Errorf("encode the MANIFEST: %w", err)
	}
	b := append([]byte("Bdgr"), 0, 0, 0, 8) // Badger's magic and version
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, castagnoli(body))
	return durable.Replace(filepath.Join(dir, manifestFile), append(b, body...))
}

// manifestSize is 0 where there is none.
func manifestSize(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, manifestFile))
	if err != nil {
		return 0
	}
	return info.Size()
}
