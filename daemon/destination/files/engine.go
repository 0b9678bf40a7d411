// Package files writes the change feed as files, Parquet or NDJSON, into a folder
// or an object store. What is valid is said by a manifest a stream: the files are
// written first, then the manifest that names them and holds the place in the
// feed, so that rows and place are one commit.
package files

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// The formats.
const (
	Parquet = "parquet"
	NDJSON  = "ndjson"
)

// Options are a place for files and what is to be written there.
type Options struct {
	// URL is the folder (file:///data/lake) or the object store
	// (s3://bucket/prefix?region=…).
	URL string
	// AccessKey and SecretKey are those of an object store; without them it is
	// looked for where its own tools look.
	AccessKey, SecretKey string
	Format               string
	// Delete says that records that have ended leave the snapshots, instead of
	// staying as tombstones.
	Delete bool
	// Raw adds a column with all properties.
	Raw bool
	// SchemaChanges is Apply, also where it is empty, Block or Ignore.
	SchemaChanges string
	// FileSize is about how large files become. Compact is how old a snapshot may
	// become, Keep how long files stay that no manifest names any more.
	FileSize      int64
	Compact, Keep time.Duration
}

// roomsKept is how many batches are packed at once: one is written, one is read.
const roomsKept = 2

// Engine is one place for files.
type Engine struct {
	o   Options
	url *url.URL
	bad *stream.Problem // why the URL is none
}

var _ destination.Engine = (*Engine)(nil)

// New returns a place that is not looked at yet. A URL that is none is told by
// Connect.
func New(o Options) *Engine {
	o.SchemaChanges = cmp.Or(o.SchemaChanges, Apply)
	e := &Engine{o: o}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme == "" || u.Scheme == "file" && u.Path == "" || u.Scheme != "file" && u.Host == "" {
		e.bad = &stream.Problem{Type: typeRefused, Title: "the destination's url names no place for files", Blocked: true,
			Detail: "it does not parse", Hint: "write it like file:///data/lake or s3://bucket/prefix?region=eu-central-1"}
		return e
	}
	e.url = u
	return e
}

// Target is where it writes, without credentials.
func (e *Engine) Target() string {
	if e.url == nil {
		return ""
	}
	return e.url.Scheme + "://" + e.url.Host + strings.TrimSuffix(e.url.Path, "/") + ", " + e.o.Format
}

// Connect looks whether the place is there.
func (e *Engine) Connect(ctx context.Context, o destination.Origin) (destination.Session, error) {
	if e.bad != nil {
		return nil, e.bad
	}
	b, err := e.open(ctx)
	if err != nil {
		return nil, e.explain("open", err)
	}
	s := &session{e: e, bucket: b, origin: o, writer: destination.NewMark(), rooms: make(chan []parquet.Value, roomsKept), streams: map[string]*table{}}
	// Nobody has to have written there, but it has to be there, and readable.
	if _, err := s.read(ctx, standingsKey, 0); err != nil && !errors.Is(err, errNone) {
		s.Close()
		return nil, e.explain("look into it", err)
	}
	return s, nil
}

func (e *Engine) open(ctx context.Context) (bucket, error) {
	switch e.url.Scheme {
	case "file":
		return openFolder(e.url.Path)
	case "s3":
		return openS3(e.url, e.o)
	}
	return openCloud(ctx, e.url)
}
