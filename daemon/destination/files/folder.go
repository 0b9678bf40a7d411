package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hubpipe/hubpipe/internal/durable"
)

// folder is a local one. gocloud.dev has a driver for those, too, but it hands
// nothing to the disk before it says that it is done: a manifest could outlive
// the rows that it names.
type folder struct{ dir string }

// unfinished is what the names of files begin with that are being written. A dot
// hides them from those that read all files of a folder.
const unfinished = ".hubpipe-"

func openFolder(dir string) (bucket, error) {
	if err := os.MkdirAll(filepath.FromSlash(dir), 0o750); err != nil {
		return nil, err
	}
	return &folder{filepath.FromSlash(dir)}, nil
}

func (f *folder) path(key string) string { return filepath.Join(f.dir, filepath.FromSlash(key)) }

func (f *folder) address(key string) string { return filepath.ToSlash(f.path(key)) }

func (f *folder) close() {}

func (f *folder) create(ctx context.Context, key string, exclusive bool) (output, error) {
	to := f.path(key)
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(to), unfinished)
	if err != nil {
		return nil, err
	}
	return &local{ctx: ctx, file: file, to: to, exclusive: exclusive}, nil
}

// local is a file that is being written.
type local struct {
	ctx       context.Context //nolint:containedctx // of the one who writes it
	file      *os.File
	to        string
	exclusive bool
	done      bool
}

func (l *local) Write(b []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	return l.file.Write(b)
}

func (l *local) commit() (err error) {
	if l.done {
		return errors.New("the file is written already")
	}
	defer l.abort()
	if err := l.file.Chmod(0o640); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if l.exclusive {
		// Unlike a rename, a link does not replace.
		err = os.Link(l.file.Name(), l.to)
		if isLinkless(err) {
			if _, err = os.Lstat(l.to); errors.Is(err, fs.ErrNotExist) {
				err = os.Rename(l.file.Name(), l.to)
			} else if err == nil {
				err = fs.ErrExist
			}
		}
		if errors.Is(err, fs.ErrExist) {
			return errExists
		}
	} else {
		err = os.Rename(l.file.Name(), l.to)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(l.to))
}

// isLinkless tells whether a file system knows no links, as some that are mounted
// over a network. Two who write at one moment are not kept apart there.
func isLinkless(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS)
}

// syncFolder makes names last that were given in a folder, and that of the folder
// itself.
func syncFolder(dir string) error {
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := durable.SyncFolder(d); err != nil {
			return err
		}
	}
	return nil
}

func (l *local) abort() {
	if l.done {
		return
	}
	l.done = true
	_ = l.file.Close()           // what matters was synced before
	_ = os.Remove(l.file.Name()) // it has another name, too, where it was finished
}

func (f *folder) open(_ context.Context, key string) (io.ReadCloser, error) {
	file, err := os.Open(f.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", errNone, key)
	}
	return file, err
}

func (f *folder) list(ctx context.Context, prefix string, fn func(entry) error) error {
	return filepath.WalkDir(f.path(path.Dir(prefix+"x")), func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return ctx.Err()
		}
		rel, err := filepath.Rel(f.dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if key := filepath.ToSlash(rel); strings.HasPrefix(key, prefix) {
			return fn(entry{key: key, modified: info.ModTime()})
		}
		return nil
	})
}

func (f *folder) remove(_ context.Context, key string) error {
	p := f.path(key)
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	_ = os.Remove(filepath.Dir(p)) // a day's folder that is empty now; others stay
	return nil
}
