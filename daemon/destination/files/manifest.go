package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/failpoint"
)

// Manifest says which files of a stream are valid, and up to which place in the
// feed. There is one for each commit, numbered without a gap.
type Manifest struct {
	Version   int       `json:"version"`
	Stream    string    `json:"stream"`
	Number    uint64    `json:"number"`
	Store     string    `json:"store"`
	Epoch     uint64    `json:"epoch"`
	Writer    string    `json:"writer"`
	Committed time.Time `json:"committed_at"`
	Format    string    `json:"format"`
	// Position is the place in the feed up to which the files have everything.
	Position uint64     `json:"position"`
	Reread   *Rereading `json:"reread,omitempty"`
	Rows     uint64     `json:"rows_written"`
	Unparsed uint64     `json:"unparsed"`
	// Snapshot is when each record was last written once, Snapshots how often.
	Snapshot  time.Time `json:"snapshot_at"`
	Snapshots uint64    `json:"snapshots"`
	// Owed is up to where nothing is left of what was erased, where something else
	// is; Erase says that a snapshot has to begin for it.
	Owed  *uint64 `json:"owed_since,omitempty"`
	Erase bool    `json:"erase,omitempty"`
	// Clean is what Owed becomes when the files are gone that a snapshot has left.
	Clean *Clean `json:"clean,omitempty"`
	// Choice differs where what of the properties comes does: destination.Rules.Key.
	Choice string `json:"choice,omitempty"`
	// Columns are those of all files together; Schemas are the types of those that
	// single files have.
	Columns []Column `json:"columns"`
	// Ignored are changes of HubSpot's properties that the columns do not follow.
	Ignored []Ignored         `json:"ignored,omitempty"`
	Schemas []map[string]kind `json:"schemas"`
	Files   []File            `json:"files"`
	// Versions are files that a snapshot has replaced, and that have versions;
	// Versioned says that these are wanted, Base that the snapshot in Files is part of
	// them, Anew that they begin with the one that is being written.
	Versions  []File `json:"versions,omitempty"`
	Versioned bool   `json:"versioned,omitempty"`
	Base      bool   `json:"versions_base,omitempty"`
	Anew      bool   `json:"versions_anew,omitempty"`
	// Building are files of a snapshot that is not whole yet.
	Building []File `json:"building,omitempty"`
	// Removed are files that were valid, and go.
	Removed []Removed `json:"removed,omitempty"`
}

// File is a data file.
type File struct {
	Path string `json:"path"`
	// URL is where readers find it.
	URL  string `json:"url"`
	Rows uint64 `json:"rows"`
	// Bytes is its size, From and To the lowest and the highest place of its rows.
	Bytes int64  `json:"bytes"`
	From  uint64 `json:"from"`
	To    uint64 `json:"to"`
	// Number is that of the manifest that named it first. Snapshot says that it is
	// part of one, which has each record once, and no changes.
	Number   uint64 `json:"number"`
	Snapshot bool   `json:"snapshot"`
	// Schema is which of the manifest's schemas it has.
	Schema int `json:"schema"`
}

// Rereading is a snapshot that is being written.
type Rereading struct {
	Reason   string `json:"reason"`
	Position uint64 `json:"position"`
	Until    uint64 `json:"until"`
	// Began is the number of the manifest that began it: what was written since is
	// newer than what it reads.
	Began uint64 `json:"began"`
}

// Clean is a place up to which nothing of what was erased is in a valid file, nor
// in those that are removed later than At.
type Clean struct {
	Position uint64    `json:"position"`
	At       time.Time `json:"at"`
}

// Removed is a file that no reader looks for any more.
type Removed struct {
	Path string    `json:"path"`
	At   time.Time `json:"at"`
}

const (
	manifestVersion = 1
	ownFolder       = "_hubpipe"
	standingsKey    = ownFolder + "/streams.json"
)

func manifestKey(name string, n uint64) string {
	return fmt.Sprintf("%s/%s/manifest-%010d.json", name, ownFolder, n)
}

func latestKey(name string) string { return name + "/" + ownFolder + "/latest.json" }
func listKey(name string) string   { return name + "/" + ownFolder + "/latest.txt" }

// numberOf is the number of a manifest, by its key.
func numberOf(key string) (uint64, bool) {
	digits, is := strings.CutPrefix(path.Base(key), "manifest-")
	digits, ends := strings.CutSuffix(digits, ".json")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, is && ends && err == nil
}

// dataKey is where a file goes. The writer's mark keeps two that should not both
// be there from writing over each other's.
func (s *session) dataKey(name string, number uint64, n int, again bool) string {
	kind := "c"
	if again {
		kind = "s"
	}
	return s.keyOf(name, number, n, kind, s.e.o.Format == NDJSON)
}

// versionKey is where a file of versions goes.
func (s *session) versionKey(name string, number uint64, n int, lines bool) string {
	return s.keyOf(name, number, n, "v", lines)
}

func (s *session) keyOf(name string, number uint64, n int, kind string, lines bool) string {
	ending := ".parquet"
	if lines {
		ending = ".ndjson.gz"
	}
	return fmt.Sprintf("%s/day=%s/%010d-%03d-%s-%s%s", name, time.Now().UTC().Format(time.DateOnly), number, n, kind, s.writer, ending)
}

// dataName tells the files that are ours to take away.
func dataName(name string) *regexp.Regexp {
	return regexp.MustCompile(`^` + regexp.QuoteMeta(name) + `/day=\d{4}-\d\d-\d\d/\d{10}-\d{3,}-[csv]-[0-9a-f]{8}\.(parquet|ndjson\.gz)$`)
}

// newestNumber is the number of a stream's newest manifest, 0 where there is none.
func (s *session) newestNumber(ctx context.Context, name string) (n uint64, err error) {
	err = s.bucket.list(ctx, name+"/"+ownFolder+"/manifest-", func(e entry) error {
		if x, ok := numberOf(e.key); ok {
			n = max(n, x)
		}
		return nil
	})
	return n, err
}

// manifest reads a stream's newest manifest; an empty one where there is none.
func (s *session) manifest(ctx context.Context, name string) (*Manifest, error) {
	n, err := s.newestNumber(ctx, name)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return &Manifest{Version: manifestVersion, Stream: name, Store: s.origin.Store, Epoch: s.origin.Epoch, Format: s.e.o.Format, Snapshot: time.Now().UTC()}, nil
	}
	b, err := s.read(ctx, manifestKey(name, n), 0)
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, &stream.Problem{Type: typeForeign, Title: "a manifest cannot be read", Blocked: true, Detail: fmt.Sprintf("%s: %v", manifestKey(name, n), err),
			Hint: "put back the one that was there, or take the folder " + name + " away: it is written anew then"}
	}
	return m, s.ours(m)
}

// ours checks that this store, in this life or an earlier one, has written a
// manifest.
func (s *session) ours(m *Manifest) error {
	switch {
	case m.Version != manifestVersion:
		return &stream.Problem{Type: typeForeign, Title: "the files are of a later version of hubpipe", Blocked: true,
			Detail: fmt.Sprintf("the manifest of %s has version %d, and this hubpipe knows %d", m.Stream, m.Version, manifestVersion), Hint: "run the later version, or name another url"}
	case m.Store != s.origin.Store:
		return &stream.Problem{Type: typeForeign, Title: "the files belong to another data folder of hubpipe", Blocked: true,
			Detail: fmt.Sprintf("%s was written by store %s, and this one is %s", m.Stream, m.Store, s.origin.Store),
			Hint:   "name another folder or prefix in the destination's url; or, where the other data folder is gone for good, take the files away"}
	case m.Epoch > s.origin.Epoch:
		return &stream.Problem{Type: typeForeign, Title: "a later life of this data folder writes here", Blocked: true,
			Detail: fmt.Sprintf("the files were written in epoch %d of the store, and this is epoch %d", m.Epoch, s.origin.Epoch),
			Hint:   "of two copies of a data folder only one may write to a place: stop one, or name another url"}
	}
	return nil
}

// moment is the present one, as manifests have it.
func moment() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// next is a manifest to be changed and committed behind another.
func (s *session) next(m *Manifest) *Manifest {
	out := *m
	out.Number, out.Writer, out.Committed = m.Number+1, s.writer, moment()
	out.Store, out.Epoch, out.Format = s.origin.Store, s.origin.Epoch, s.e.o.Format
	out.Schemas = slices.Clone(m.Schemas)
	out.Versions = slices.Clone(m.Versions)
	out.Files, out.Building, out.Removed, out.Columns = slices.Clone(m.Files), slices.Clone(m.Building), slices.Clone(m.Removed), slices.Clone(m.Columns)
	if m.Reread != nil {
		r := *m.Reread
		out.Reread = &r
	}
	return &out
}

// commit makes a manifest the stream's newest. Only one can be behind another: of
// two who write at the same time one is refused.
func (s *session) commit(ctx context.Context, t *table, m *Manifest) error {
	m.Choice = t.info.Rules.Key()
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	// Whoever was away for long finds its number free, since tidy has taken away what
	// had it.
	n, err := s.newestNumber(ctx, m.Stream)
	if err != nil {
		return err
	}
	if n != m.Number-1 {
		return othersWrote(m.Stream, n)
	}
	err = s.write(ctx, manifestKey(m.Stream, m.Number), b, true)
	if errors.Is(err, errExists) {
		return othersWrote(m.Stream, m.Number)
	}
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.Manifest)
	// Who slept since finds it free, too, and has written what nobody reads. The newest
	// is never taken away, so that it would be seen now.
	if n, err = s.newestNumber(ctx, m.Stream); err != nil {
		return err
	}
	if n != m.Number {
		return othersWrote(m.Stream, n)
	}
	t.m = m
	return s.publish(ctx, t, b)
}

// othersWrote is why nothing is written behind a manifest that is not the newest.
func othersWrote(name string, newest uint64) error {
	return &stream.Problem{Type: typeForeign, Title: "somebody else has written to the files", Detail: fmt.Sprintf("the newest manifest of %s is number %d, which is not the one that was read", name, newest),
		Hint: "it is read again by itself; if it stays, two daemons write to one place"}
}

// publish writes what readers look at: the newest manifest under one name, and the
// files that are valid, an address a line.
func (s *session) publish(ctx context.Context, t *table, b []byte) error {
	var list strings.Builder
	for _, f := range t.m.Files {
		list.WriteString(f.URL + "\n")
	}
	if err := s.write(ctx, listKey(t.m.Stream), []byte(list.String()), false); err != nil {
		return err
	}
	if err := s.publishVersions(ctx, t); err != nil {
		return err
	}
	if err := s.write(ctx, latestKey(t.m.Stream), b, false); err != nil {
		return err
	}
	t.published = t.m.Number
	return nil
}

// place is what the manager is told of a manifest.
func (t *table) place() destination.Place {
	m := t.m
	p := destination.Place{Table: m.Stream, Position: m.Position, Rows: m.Rows, Unparsed: m.Unparsed, Cleared: m.Position}
	if m.Number > 0 {
		p.LastCommit = m.Committed
	}
	if m.Owed != nil {
		p.Cleared = *m.Owed
	}
	if r := m.Reread; r != nil {
		p.Reread = &destination.Reread{Reason: r.Reason, Position: r.Position, Until: r.Until, Sweep: true}
	}
	if t.taken {
		p.Held = t.held
	}
	return p
}
