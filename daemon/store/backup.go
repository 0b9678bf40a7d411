package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dgraph-io/badger/v4"
)

// Backup writes all that the store holds, as of one moment, while it goes on
// being written. An error of w is returned as it is; after any other what was
// written is no backup either, and nobody can take it for one.
func (s *Store) Backup(ctx context.Context, version string, w io.Writer) error {
	return s.view(func(txn *badger.Txn) error {
		var m meta
		if err := getJSON(txn, []byte{kMeta}, &m); err != nil {
			return fmt.Errorf("back up the store: read the numbers in use: %w", err)
		}
		out, err := newBackupWriter(w, BackupHeader{Format: backupFormat, Layout: format, Store: s.id, Epoch: s.epoch,
			Commits: m.Commits, Made: s.o.Now().UTC(), Version: version, Position: m.Position, Ceiling: m.Ceiling})
		if err != nil {
			return err
		}
		if err := dump(txn, func() error { return s.going(ctx) }, out.put); err != nil {
			return err
		}
		return out.end()
	})
}

// dump gives every key and its value of one snapshot, in one scan, under which
// Badger keeps the files that it reads. put may take its time: no lock of
// Badger's is held meanwhile.
func dump(txn *badger.Txn, going func() error, put func(key, value []byte) error) error {
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	var value []byte
	for it.Rewind(); it.Valid(); it.Next() {
		if err := going(); err != nil {
			return err
		}
		item := it.Item()
		var err error
		if value, err = item.ValueCopy(value); err == nil && len(value) == 0 && item.ValueSize() > 0 {
			err = errBlock // Badger gives nothing, and no error, for a value that it cannot read
		}
		if err != nil {
			return fmt.Errorf("%w (the value of %x cannot be read: %w)", ErrUnreadable, item.Key(), err)
		}
		if err := put(item.Key(), value); err != nil {
			return err
		}
	}
	return nil
}

// ErrUnreadable says that a value in the store cannot be read.
var ErrUnreadable = errors.New("something in the store cannot be read")
