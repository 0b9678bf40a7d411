package store

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"
)

// A backup is a line that says so, and frames: the header as JSON, keys with
// their values, and an empty one, behind which stand how many keys there are
// and the SHA-256 of all before. A frame is its length, what it holds, and the
// CRC of both, so that nothing damaged is ever decoded; a file that ends early
// lacks the end, and is no backup.
const (
	backupMagic  = "hubpipe backup\n"
	backupFormat = 1
	// backupFrame is when a frame is full; the last value of it may go beyond.
	backupFrame = 256 << 10
	// maxFrame is against a length that is damaged: a block, and then some.
	maxFrame = maxBlock + 1<<20
)

// ErrNoBackup is wrapped by every error that says that a file is not a whole
// backup.
var ErrNoBackup = errors.New("this is not a whole backup")

// BackupHeader says what a backup holds.
type BackupHeader struct {
	Format  int       `json:"format"` // of the file
	Layout  int       `json:"layout"` // of the data folder
	Store   string    `json:"store"`
	Epoch   uint64    `json:"epoch"`
	Commits uint64    `json:"commits"`
	Made    time.Time `json:"made"`
	Version string    `json:"version"` // of hubpipe
	// Position is the newest place in the feed that is in it; Ceiling bounds
	// all numbers that were handed out when it was made.
	Position uint64   `json:"position"`
	Ceiling  counters `json:"ceiling"`
}

func (h BackupHeader) check() error {
	switch {
	case h.Format > backupFormat || h.Layout > format:
		return fmt.Errorf("the backup was made by a newer hubpipe (%s): restore it with that one", h.Version)
	case h.Layout < oldest:
		return fmt.Errorf("the backup was made by an older hubpipe (%s), whose data this one does not read: restore it with that one", h.Version)
	case h.Store == "" || h.Epoch == 0 || h.Commits == 0:
		return fmt.Errorf("%w: its header names no store", ErrNoBackup)
	}
	return nil
}

// castagnoli is what crc32 has instructions for.
func castagnoli(b ...[]byte) (sum uint32) {
	t := crc32.MakeTable(crc32.Castagnoli)
	for _, p := range b {
		sum = crc32.Update(sum, t, p)
	}
	return sum
}

// backupWriter writes a backup.
type backupWriter struct {
	w     io.Writer // to the file and the sum
	sum   hash.Hash
	frame []byte
	keys  uint64
}

func newBackupWriter(w io.Writer, h BackupHeader) (*backupWriter, error) {
	sum := sha256.New()
	b := &backupWriter{w: io.MultiWriter(w, sum), sum: sum}
	if _, err := io.WriteString(b.w, backupMagic); err != nil {
		return nil, err
	}
	header, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the backup's header: %w", err)
	}
	b.frame = append(b.frame, header...)
	return b, b.cut()
}

// put appends a key and its value, which are copied.
func (b *backupWriter) put(key, value []byte) error {
	b.keys++
	b.frame = append(binary.AppendUvarint(b.frame, uint64(len(key))), key...)
	b.frame = append(binary.AppendUvarint(b.frame, uint64(len(value))), value...)
	if len(b.frame) < backupFrame {
		return nil
	}
	return b.cut()
}

func (b *backupWriter) cut() error {
	var length, sum [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(b.frame)))
	binary.BigEndian.PutUint32(sum[:], castagnoli(length[:], b.frame))
	for _, p := range [][]byte{length[:], b.frame, sum[:]} {
		if _, err := b.w.Write(p); err != nil {
			return err
		}
	}
	b.frame = b.frame[:0]
	return nil
}

// end writes what makes the backup whole.
func (b *backupWriter) end() error {
	if len(b.frame) > 0 {
		if err := b.cut(); err != nil {
			return err
		}
	}
	if err := b.cut(); err != nil {
		return err
	}
	if _, err := b.w.Write(binary.BigEndian.AppendUint64(nil, b.keys)); err != nil {
		return err
	}
	_, err := b.w.Write(b.sum.Sum(nil))
	return err
}

// backupReader reads a backup. What it gives is what was written, but only
// after io.EOF is it known that nothing is missing.
type backupReader struct {
	r     *bufio.Reader
	sum   hash.Hash
	frame bytes.Buffer
	rest  reader
	keys  uint64
}

func newBackupReader(r io.Reader) (*backupReader, BackupHeader, error) {
	b := &backupReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	magic := make([]byte, len(backupMagic))
	if err := b.read(magic); err != nil {
		return nil, BackupHeader{}, err
	}
	if string(magic) != backupMagic {
		return nil, BackupHeader{}, fmt.Errorf("%w: it does not begin as one", ErrNoBackup)
	}
	if err := b.fill(); err != nil {
		return nil, BackupHeader{}, err
	}
	var h BackupHeader
	if err := json.Unmarshal(b.rest.b, &h); err != nil {
		return nil, BackupHeader{}, fmt.Errorf("%w: its header does not decode", ErrNoBackup)
	}
	b.rest.b = nil
	return b, h, h.check()
}

// read fills p, and takes it into the sum.
func (b *backupReader) read(p []byte) error {
	_, err := io.ReadFull(b.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends before its end", ErrNoBackup)
	}
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	b.sum.Write(p)
	return nil
}

// fill reads the next frame into rest.
func (b *backupReader) fill() error {
	var length, sum [4]byte
	if err := b.read(length[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > maxFrame {
		return fmt.Errorf("%w: it is damaged", ErrNoBackup)
	}
	// What is allocated grows with what comes, not with what is announced.
	b.frame.Reset()
	switch got, err := io.Copy(&b.frame, io.LimitReader(b.r, n)); {
	case err != nil:
		return fmt.Errorf("read the backup: %w", err)
	case got < n:
		return fmt.Errorf("%w: it ends before its end", ErrNoBackup)
	}
	b.sum.Write(b.frame.Bytes())
	if err := b.read(sum[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(sum[:]) != castagnoli(length[:], b.frame.Bytes()) {
		return fmt.Errorf("%w: it is damaged", ErrNoBackup)
	}
	b.rest = reader{b: b.frame.Bytes()}
	return nil
}

// next gives a key and its value, which hold until the next call; io.EOF says
// that these were all, and that the sums are right.
func (b *backupReader) next() (key, value []byte, err error) {
	if len(b.rest.b) == 0 {
		if err := b.fill(); err != nil {
			return nil, nil, err
		}
		if len(b.rest.b) == 0 {
			return nil, nil, b.finish()
		}
	}
	key = b.rest.take(b.rest.uvarint())
	value = b.rest.take(b.rest.uvarint())
	if b.rest.bad || len(key) == 0 {
		return nil, nil, fmt.Errorf("%w: a key in it does not decode", ErrNoBackup)
	}
	b.keys++
	return key, value, nil
}

func (b *backupReader) finish() error {
	var keys [8]byte
	if err := b.read(keys[:]); err != nil {
		return err
	}
	want, got := b.sum.Sum(nil), make([]byte, sha256.Size)
	if err := b.read(got); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(keys[:]) != b.keys || !bytes.Equal(want, got) {
		return fmt.Errorf("%w: it is damaged", ErrNoBackup)
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrNoBackup)
	}
	return io.EOF
}

// VerifyBackup reads a backup to its end and says what it holds; an error says
// that it is not whole, or that this hubpipe cannot restore it.
func VerifyBackup(r io.Reader) (BackupHeader, error) {
	b, h, err := newBackupReader(r)
	for err == nil {
		_, _, err = b.next()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return h, err
}
