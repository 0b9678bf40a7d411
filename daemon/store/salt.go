package store

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// saltBytes is how long the salt is.
const saltBytes = 32

// Salt is what hashes of values are made with that leave the store. It is made
// when it is first asked for, belongs to the store as its name does, and is in
// its backups. It may be asked for beside the writer: nobody else writes its key.
func (s *Store) Salt() ([]byte, error) {
	leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	s.saltMu.Lock()
	defer s.saltMu.Unlock()
	if s.salt != nil {
		return s.salt, nil
	}
	var salt []byte
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{kSalt})
		if err != nil {
			return err
		}
		salt, err = item.ValueCopy(nil)
		return err
	})
	switch {
	case err == nil && len(salt) == saltBytes:
		s.salt = salt
		return salt, nil
	case err == nil:
		return nil, broken("the salt of hashes has %d bytes", len(salt))
	case !errors.Is(err, badger.ErrKeyNotFound):
		return nil, fmt.Errorf("read the salt of hashes: %w", err)
	}
	if err := s.failure(); err != nil {
		return nil, err
	}
	if free, err := freeSpace(s.o.Dir); err == nil && free < s.o.FreeMark {
		return nil, ErrFull
	}
	salt = make([]byte, saltBytes)
	_, _ = rand.Read(salt) // it never fails, by its own documentation
	if err := s.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{kSalt}, salt) }); err != nil {
		return nil, fmt.Errorf("write the salt of hashes: %w", err)
	}
	s.salt = salt
	return salt, nil
}
