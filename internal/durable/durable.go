// Package durable writes files that outlive a loss of power: what bears the name
// is whole, the new or the old, and what was said to be written is on the disk.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Replace writes a file that its owner alone may read, in place of the one that
// bears its name, if any. When it returns nil the new one is on the disk; after
// an error, or a crash on the way, either is there whole. It writes beside it,
// under the name with .new behind it, so that what a crash left is overwritten:
// those who write one file from several places take turns.
func Replace(path string, b []byte) error { return replace(path, b, (*os.File).Sync) }

func replace(path string, b []byte, sync func(*os.File) error) error {
	beside := path + ".new"
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		// Before the name is given: a name may be on the disk before what it names.
		err = sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = os.Remove(beside) // a full disk needs the room
		return err
	}
	return syncFolder(filepath.Dir(path), sync)
}

// SyncFolder makes last what names were given and taken in a folder.
func SyncFolder(dir string) error { return syncFolder(dir, (*os.File).Sync) }

func syncFolder(dir string, sync func(*os.File) error) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync a folder: %w", err)
	}
	return errors.Join(sync(f), f.Close())
}
