package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// note is what is kept beside a block and changes more often than it: how many
// records it has, how far above its first position the last of them stands,
// and which of them are dead, by the same distance, ascending. A record is
// dead when it stands in the feed again further on, or not at all.
type note struct {
	records int
	last    uint64
	dead    []uint32

	changed bool
	must    bool // what is dead has to go in this transaction
}

func (n *note) live() int { return n.records - len(n.dead) }

func (n *note) append(b []byte) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(n.records)), n.last)
	prev := uint32(0)
	for _, d := range n.dead {
		b = binary.AppendUvarint(b, uint64(d-prev))
		prev = d
	}
	return b
}

func (n *note) read(b []byte) error {
	r := reader{b: b}
	records := r.uvarint()
	*n = note{records: int(records), last: r.uvarint(), dead: n.dead[:0]}
	prev := uint64(0)
	for !r.bad && len(r.b) > 0 {
		prev += r.uvarint()
		if prev > min(n.last, math.MaxUint32) {
			return errBlock
		}
		n.dead = append(n.dead, uint32(prev))
	}
	if r.bad || records > maxBlock || len(n.dead) > n.records {
		return errBlock
	}
	return nil
}

// kill notes that the record at a distance is dead; false says that it was.
func (n *note) kill(distance uint64) bool {
	i, was := slices.BinarySearch(n.dead, uint32(distance))
	if was || len(n.dead) == n.records {
		return false
	}
	n.dead, n.changed = slices.Insert(n.dead, i, uint32(distance)), true
	return true
}

func (n *note) isDead(distance uint64) bool {
	_, is := slices.BinarySearch(n.dead, uint32(distance))
	return is
}

// bury marks what the note says is dead as gone.
func (b *block) bury(n *note) error {
	if len(b.rows) != n.records {
		return errBlock
	}
	i := 0
	for _, d := range n.dead {
		for i < len(b.rows) && b.rows[i].seq < b.first+uint64(d) {
			i++
		}
		if i == len(b.rows) || b.rows[i].seq != b.first+uint64(d) {
			return errBlock
		}
		b.rows[i].gone = true
	}
	return nil
}

// readBlock reads a block, with its dead records where n is nil.
func (s *Store) readBlock(txn *badger.Txn, name string, first uint64, n *note, b *block) error {
	item, err := txn.Get(feedKey(name, first, blockKind))
	if err == nil {
		err = item.Value(func(v []byte) error { return unpack(first, v, b) })
	}
	if err == nil && n != nil {
		err = b.bury(n)
	}
	return err
}

// load reads a block as its note says that it is.
func (s *Store) load(item *badger.Item, first uint64, n *note, b *block) error {
	if n == nil {
		return fmt.Errorf("%w: its note is missing", errBlock)
	}
	if err := item.Value(func(v []byte) error { return unpack(first, v, b) }); err != nil {
		return err
	}
	return b.bury(n)
}

// blockKey names a block in a transaction.
type blockKey struct {
	stream string
	first  uint64
}

// noteOf returns the note of a block, nil where there is none.
func (t *Tx) noteOf(name string, first uint64) (*note, error) {
	k := blockKey{name, first}
	if n, ok := t.notes[k]; ok {
		return n, nil
	}
	if known := t.s.notes[k]; known != nil {
		n := *known
		n.dead = slices.Clone(n.dead)
		t.notes[k] = &n
		return &n, nil
	}
	item, err := t.txn.Get(feedKey(name, first, noteKind))
	if errors.Is(err, badger.ErrKeyNotFound) {
		t.notes[k] = nil
		return nil, nil
	}
	n := new(note)
	if err == nil {
		err = item.Value(n.read)
	}
	if err != nil {
		return nil, fmt.Errorf("read the note of block %d of %s: %w", first, name, err)
	}
	t.notes[k] = n
	return n, nil
}

// kill lets the copy of a record in a block that is written die. It returns
// the block's note, nil where the block is gone.
func (t *Tx) kill(name string, c copyAt) (*note, error) {
	n, err := t.noteOf(name, c.block)
	if n == nil || err != nil {
		return nil, err
	}
	if n.kill(c.seq - c.block) {
		t.dirty = true
		t.deaths++
	}
	return n, nil
}

// maxCopies is how many superseded copies of one record may lie about.
const maxCopies = 8

// supersede lets the newest copy of a record die. With erase, every older one
// that is still there goes in this transaction too; otherwise it returns where
// they may be.
func (t *Tx) supersede(name string, old *entry, erase bool) ([]copyAt, error) {
	copies := old.old
	if b := t.open[name]; b != nil && b.first == old.block {
		if r := b.find(old.head.Seq); r != nil {
			r.gone = true
		}
	} else {
		n, err := t.kill(name, copyAt{old.head.Seq, old.block})
		if err != nil {
			return nil, err
		}
		if n != nil && n.live() > 0 {
			copies = append(copies, copyAt{old.head.Seq, old.block})
		}
	}
	if !erase && len(copies) <= maxCopies {
		return copies, nil
	}
	kept := copies[:0]
	for _, c := range copies {
		n, err := t.noteOf(name, c.block)
		if err != nil {
			return nil, err
		}
		if n == nil {
			continue
		}
		if n.isDead(c.seq - c.block) {
			kept = append(kept, c)
		}
	}
	surplus := max(0, len(kept)-maxCopies)
	if erase {
		surplus = len(kept)
	}
	for _, c := range kept[:surplus] {
		n, err := t.noteOf(name, c.block)
		if err != nil {
			return nil, err
		}
		n.must, t.dirty = true, true
	}
	return kept[surplus:], nil
}

// Rewriting a block costs as much as it has records. A block is due when half
// of them are dead, so that what is rewritten in all is no more than twice what
// was put; a transaction rewrites no more than this, since many blocks may be
// due at once. What is left is due again when another of its records dies.
const (
	rewriteBase   = 2048
	rewritePerDue = 4
)

// settle writes the notes that have changed, and rewrites or drops the blocks
// that they make due.
func (t *Tx) settle() error {
	budget := rewriteBase + rewritePerDue*t.deaths
	for k, n := range t.notes {
		if n == nil || !n.changed && !n.must {
			continue
		}
		due := n.must || 2*len(n.dead) >= n.records && n.records <= budget
		switch {
		case n.live() == 0:
			if err := errors.Join(t.delete(feedKey(k.stream, k.first, noteKind)), t.delete(feedKey(k.stream, k.first, blockKind))); err != nil {
				return err
			}
			continue
		case due:
			budget -= n.records
			if err := t.rewrite(k, n); err != nil {
				return err
			}
		}
		if err := t.set(feedKey(k.stream, k.first, noteKind), n.append(nil)); err != nil {
			return err
		}
	}
	return nil
}

// rewrite writes a block without what is dead in it, under the same key and
// with the same positions. One that cannot be read stays as it is: its dead
// cannot be read either, and the checks of the next opening let it go.
func (t *Tx) rewrite(k blockKey, n *note) error {
	b := t.s.block()
	defer t.s.giveBack(b)
	if err := t.s.readBlock(t.txn, k.stream, k.first, n, b); err != nil {
		if errors.Is(err, errBlock) || errors.Is(err, badger.ErrKeyNotFound) {
			t.s.o.Logger.Error("a block of records cannot be read", "stream", k.stream, "position", k.first, "error", err)
			return nil
		}
		return fmt.Errorf("read block %d of %s: %w", k.first, k.stream, err)
	}
	return t.write(k, n, b)
}

// write writes a block, and its note in memory.
func (t *Tx) write(k blockKey, n *note, b *block) error {
	t.view.forget(k)
	value, err := t.s.packer.pack(b)
	if err != nil {
		return fmt.Errorf("write block %d of %s: %w", k.first, k.stream, err)
	}
	n.records, n.last = b.live()
	n.dead, n.changed = n.dead[:0], true
	return t.set(feedKey(k.stream, k.first, blockKind), value)
}

// cut writes the block that is being gathered for a stream.
func (t *Tx) cut(name string) error {
	b := t.open[name]
	if b == nil {
		return nil
	}
	delete(t.open, name)
	defer t.s.giveBack(b)
	k, n := blockKey{name, b.first}, new(note)
	switch live, _ := b.live(); {
	case live > 0:
		t.notes[k] = n
		t.tails[name] = b.first
		return t.write(k, n, b)
	case b.read: // nothing is left of what was there
		n.changed = true
		t.notes[k] = n
	}
	return nil
}

// A block with less than this is gone on with by the next transaction, which
// writes it anew: where records come one by one, they would else lie in blocks
// of one, which compress badly and are read slowly.
const tailRecords = 16

// gather begins a block for a stream, or goes on with its last one.
func (t *Tx) gather(name string, seq uint64) (*block, error) {
	b := t.s.block()
	first, ok := t.tails[name]
	if !ok {
		first, ok = t.s.tails[name]
	}
	if ok && seq-first < math.MaxInt32 {
		n, err := t.noteOf(name, first)
		if err != nil {
			return nil, err
		}
		if n != nil && n.records < tailRecords && t.s.readBlock(t.txn, name, first, n, b) == nil {
			t.open[name] = b
			return b, nil
		}
	}
	b.reset(seq)
	t.open[name] = b
	return b, nil
}

// keptNotes is how many notes the writer keeps in memory: where records change
// in no order, each asks for one.
const keptNotes = 8192

// keep takes over the notes of a transaction that was committed.
func (s *Store) keep(notes map[blockKey]*note) {
	for k, n := range notes {
		switch {
		case n == nil || n.live() == 0:
			delete(s.notes, k)
			if s.tails[k.stream] == k.first {
				delete(s.tails, k.stream)
			}
		default:
			n.changed, n.must = false, false
			s.notes[k] = n
		}
	}
	for k := range s.notes {
		if len(s.notes) <= keptNotes {
			break
		}
		delete(s.notes, k)
	}
}

// block lends a block's memory; giveBack returns it.
func (s *Store) block() *block {
	if b, ok := s.spare.Get().(*block); ok {
		return b
	}
	return new(block)
}

func (s *Store) giveBack(b *block) {
	if cap(b.data) > 2*blockBytes || cap(b.ownData) > 2*blockBytes || cap(b.buf) > 2*blockBytes {
		return
	}
	clear(b.shapes) // what they learned
	s.spare.Put(b)
}
