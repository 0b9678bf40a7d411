package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// bucket is where files are. Keys are paths with slashes.
type bucket interface {
	// create begins an object. It is there, whole and lasting, when commit has
	// returned nil, and not before; with exclusive only where there was none, else
	// the error is errExists.
	create(ctx context.Context, key string, exclusive bool) (output, error)
	// open reads one; errNone where there is none.
	open(ctx context.Context, key string) (io.ReadCloser, error)
	list(ctx context.Context, prefix string, fn func(entry) error) error
	// remove takes one away; that there is none is no error.
	remove(ctx context.Context, key string) error
	// address is where others find it.
	address(key string) string
	close()
}

// output is an object that is being written. Either commit or abort ends it; behind one
// of them abort does nothing.
type output interface {
	io.Writer
	commit() error
	abort()
}

// entry is one object of a listing.
type entry struct {
	key      string
	modified time.Time
}

var (
	errNone   = errors.New("there is no such object")
	errExists = errors.New("there is one of that name already")
	errBucket = errors.New("there is no such bucket")
)

// maxSmall bounds what is read at once.
const maxSmall = 64 << 20

// read reads a small object as a whole.
func (s *session) read(ctx context.Context, key string, limit int64) ([]byte, error) {
	r, err := s.bucket.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // it was only read
	if limit == 0 {
		limit = maxSmall
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", key, limit)
	}
	return b, err
}

// write writes a small object.
func (s *session) write(ctx context.Context, key string, b []byte, exclusive bool) error {
	o, err := s.bucket.create(ctx, key, exclusive)
	if err != nil {
		return err
	}
	defer o.abort()
	if _, err := o.Write(b); err != nil {
		return err
	}
	return o.commit()
}
