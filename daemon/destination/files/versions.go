package files

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// Where versions are wanted, files of changes have a row for each. They are kept
// when a snapshot replaces them, written together into few, and without what
// belongs to records that have lost their content since.

func versionsKey(name string) string { return name + "/" + ownFolder + "/versions.txt" }

// everyVersion are the files that have every version.
func (m *Manifest) everyVersion() (out []File) {
	out = append(out, m.Versions...)
	for _, f := range m.Files {
		if !f.Snapshot || m.Base {
			out = append(out, f)
		}
	}
	return out
}

// fitVersions makes a manifest say whether there are versions, and tells whether
// it did not.
func (m *Manifest) fitVersions(wanted bool) bool {
	if m.Versioned == wanted {
		return false
	}
	// What is there is a version, too.
	m.Versioned, m.Base = wanted, wanted
	if !wanted {
		m.leaveVersions()
	}
	return true
}

// leaveVersions takes away those that are kept.
func (m *Manifest) leaveVersions() {
	for _, f := range m.Versions {
		m.Removed = append(m.Removed, Removed{f.Path, m.Committed})
	}
	m.Versions = nil
}

// retire keeps the versions that a snapshot is about to replace.
func (s *session) retire(ctx context.Context, t *table, m *Manifest) error {
	if !m.Versioned {
		m.Anew = false // whatever was before the snapshot has gone with it
		return nil
	}
	if m.Anew {
		m.leaveVersions()
		m.Anew, m.Base = false, true
		return nil
	}
	var old []File
	for _, f := range m.everyVersion()[len(m.Versions):] {
		if f.Number <= m.Reread.Began {
			old = append(old, f)
		}
	}
	bare := map[string]uint64{} // and where they have lost their content
	for _, f := range old {
		if err := s.eachRow(ctx, f, func(x *anyRow) error {
			if stream.State(x.state).Bare() {
				bare[x.id] = max(bare[x.id], x.seq)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	stays := func(x *anyRow) bool { return x.seq >= bare[x.id] }
	var kept []File
	for _, f := range m.Versions {
		has := false
		if len(bare) > 0 {
			if err := s.eachRow(ctx, f, func(x *anyRow) error { has = has || !stays(x); return nil }); err != nil {
				return err
			}
		}
		if !has {
			kept = append(kept, f)
			continue
		}
		m.Removed = append(m.Removed, Removed{f.Path, m.Committed})
		old = append(old, f)
	}
	c := &copier{s: s, t: t, number: m.Number}
	defer c.abort()
	for _, f := range old {
		if err := s.eachRow(ctx, f, func(x *anyRow) error {
			if !stays(x) {
				return nil
			}
			return c.add(ctx, f, x)
		}); err != nil {
			return err
		}
	}
	if err := c.finish(); err != nil {
		return err
	}
	m.Versions, m.Base = append(kept, c.files...), false
	return nil
}

// anyRow is a row of a file, as its format has it.
type anyRow struct {
	id    string
	seq   uint64
	state string

	line   []byte // of NDJSON
	row    parquet.Row
	schema *parquet.Schema
}

// eachRow reads a file; what fn is given is its own until it returns.
func (s *session) eachRow(ctx context.Context, f File, fn func(*anyRow) error) error {
	if strings.HasSuffix(f.Path, ".gz") {
		r, err := s.bucket.open(ctx, f.Path)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }() // it was only read
		return eachLine(ctx, r, fn)
	}
	file, done, err := s.openAt(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	p, err := parquet.OpenFile(file, f.Bytes)
	if err != nil {
		return err
	}
	x := &anyRow{schema: p.Schema()}
	paths := p.Schema().Columns()
	for _, g := range p.RowGroups() {
		rows := g.Rows()
		buf := make([]parquet.Row, chunk)
		for {
			n, err := rows.ReadRows(buf)
			for _, row := range buf[:n] {
				for _, v := range row {
					switch paths[v.Column()][0] {
					case colID:
						x.id = string(v.ByteArray())
					case colSeq:
						x.seq = v.Uint64()
					case colState:
						x.state = string(v.ByteArray())
					}
				}
				x.row = row
				if err := errors.Join(fn(x), ctx.Err()); err != nil {
					_ = rows.Close()
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				_ = rows.Close()
				return err
			}
		}
		if err := rows.Close(); err != nil {
			return err
		}
	}
	return nil
}

func eachLine(ctx context.Context, r io.Reader, fn func(*anyRow) error) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(z, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		x := &anyRow{line: line}
		v := rawjson.Scan(line)
		if !v.Open('{') {
			return errors.New("a line is no object")
		}
		for i := 0; v.Next(i, '}'); i++ {
			name, raw := v.Name(), v.Value()
			if v.Broken() {
				return errors.New("a line is no JSON")
			}
			switch string(name) {
			case `"` + colID + `"`:
				x.id = string(unquote(raw))
			case `"` + colSeq + `"`:
				if x.seq, err = strconv.ParseUint(string(raw), 10, 64); err != nil {
					return fmt.Errorf("a line's place: %w", err)
				}
			case `"` + colState + `"`:
				x.state = string(unquote(raw))
			}
		}
		if err := fn(x); err != nil {
			return err
		}
	}
}

// copier writes rows of several files into few, those of one schema together.
type copier struct {
	s      *session
	t      *table
	number uint64
	files  []File

	file File
	out  *counting
	grid *parquet.Writer //nolint:staticcheck // as in grid
	zip  *gzip.Writer
	rows int // of the group
}

func (c *copier) add(ctx context.Context, from File, x *anyRow) (err error) {
	if c.out != nil && (c.file.Schema != from.Schema || c.size() >= c.s.e.o.FileSize || strings.HasSuffix(c.file.Path, ".gz") == (x.line == nil)) {
		if err := c.finish(); err != nil {
			return err
		}
	}
	if c.out == nil {
		if err := c.begin(ctx, from, x); err != nil {
			return err
		}
	}
	if x.line != nil {
		_, err = c.zip.Write(x.line)
	} else if _, err = c.grid.WriteRows([]parquet.Row{x.row}); err == nil {
		if c.rows++; c.rows >= groupRows || c.size()-c.out.n >= groupBytes {
			c.rows = 0
			err = c.grid.Flush()
		}
	}
	if c.file.Rows == 0 {
		c.file.From = x.seq
	}
	c.file.From, c.file.To = min(c.file.From, x.seq), max(c.file.To, x.seq)
	c.file.Rows++
	return err
}

func (c *copier) size() int64 {
	if c.grid != nil {
		return max(c.out.n, c.grid.Size())
	}
	return c.out.n
}

func (c *copier) begin(ctx context.Context, from File, x *anyRow) error {
	key := c.s.versionKey(c.t.info.Name, c.number, len(c.files), x.line != nil)
	o, err := c.s.bucket.create(ctx, key, false)
	if err != nil {
		return err
	}
	c.out = &counting{output: o}
	c.file = File{Path: key, URL: c.s.bucket.address(key), Number: c.number, Schema: from.Schema}
	c.grid, c.zip, c.rows = nil, nil, 0
	if x.line != nil {
		c.zip, _ = gzip.NewWriterLevel(c.out, gzip.BestSpeed) // the level is one
	} else {
		c.grid = parquet.NewWriter(c.out, x.schema, parquet.PageBufferSize(pageBuffer), parquet.CreatedBy("hubpipe", "", ""),
			parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}))
	}
	return nil
}

// finish ends the file that is written, if there is one.
func (c *copier) finish() (err error) {
	if c.out == nil {
		return nil
	}
	if c.zip != nil {
		err = c.zip.Close()
	} else {
		err = c.grid.Close()
	}
	if err == nil {
		err = c.out.commit()
	}
	if err != nil {
		return err
	}
	c.file.Bytes = c.out.n
	c.files, c.out = append(c.files, c.file), nil
	return nil
}

func (c *copier) abort() {
	if c.out != nil {
		c.out.abort()
	}
}

// publishVersions shows readers the files that have every version, an address a
// line. Where no versions are wanted there is no list: one that was left names files
// that go.
func (s *session) publishVersions(ctx context.Context, t *table) error {
	key := versionsKey(t.m.Stream)
	if !t.m.Versioned {
		if t.unlisted {
			return nil
		}
		err := s.removeIfThere(ctx, key)
		t.unlisted = err == nil
		return err
	}
	t.unlisted = false
	var list bytes.Buffer
	for _, f := range t.m.everyVersion() {
		list.WriteString(f.URL + "\n")
	}
	return s.write(ctx, key, list.Bytes(), false)
}

// removeIfThere looks before it takes away: a bucket that keeps versions of objects
// notes each removal, of what there is not, too.
func (s *session) removeIfThere(ctx context.Context, key string) error {
	r, err := s.bucket.open(ctx, key)
	if errors.Is(err, errNone) {
		return nil
	}
	if err != nil {
		return err
	}
	_ = r.Close() // it was not read
	return s.bucket.remove(ctx, key)
}
