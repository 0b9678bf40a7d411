package store

import (
	"encoding/binary"
	"strconv"
)

// Keys, by their first byte. A stream's name is preceded by its length, so
// that no name is the beginning of another's range.
const (
	kFeed   = 'f' // stream, seq, 0: a block's note; 1: the block
	kIndex  = 'i' // stream, id: the record's head, and where it is
	kCount  = 'c' // stream: counts
	kStream = 's' // stream: ledger
	kSchema = 'p' // stream: definitions
	kRun    = 'r' // run id
	kOfRun  = 'q' // stream, run id: the run's kind; the runs of a stream
	kActive = 'a' // run id: nothing; the runs that are running
	kRange  = 'g' // run id, range
	kWorker = 'w'
	kPortal = 'o'
	kAnswer = 'n' // command id
	kErased = 'e' // stream, id: an erasure
	kTime   = 't' // ms: the last position before
	kMeta   = 'm'
	kSalt   = 'h' // nothing behind it: the salt of hashes

	// Superseded versions that are put aside.
	kVersion = 'v' // stream, seq, ms, id: the version, a block of one
	kPast    = 'x' // stream, id, seq: ms; the versions of a record
	kVoid    = 'z' // stream, id: up to which position they are void
	kLost    = 'l' // stream: how many were let go unread, by reader
)

func streamKey(kind byte, name string) []byte {
	k := make([]byte, 0, 2+len(name)+24)
	k = append(k, kind, byte(len(name)))
	return append(k, name...)
}

// nameOf is the inverse of streamKey; ok is false for a key that is none.
func nameOf(key []byte) (name string, rest []byte, ok bool) {
	if len(key) < 2 || len(key) < 2+int(key[1]) {
		return "", nil, false
	}
	n := 2 + int(key[1])
	return string(key[2:n]), key[n:], true
}

// The two keys of a block, which stand side by side: who reads the feed knows
// what of a block is dead before it comes to it.
const (
	noteKind  = 0
	blockKind = 1
)

func feedKey(name string, first uint64, kind byte) []byte {
	return append(binary.BigEndian.AppendUint64(streamKey(kFeed, name), first), kind)
}

// readFeedKey is the inverse of feedKey, behind the stream's name.
func readFeedKey(rest []byte) (first uint64, kind byte, ok bool) {
	if len(rest) != 9 || rest[8] > blockKind {
		return 0, 0, false
	}
	return binary.BigEndian.Uint64(rest), rest[8], true
}

// indexKey keeps ids that are numbers as 8 bytes, in their order, and others
// as text behind them.
func indexKey(name, id string) []byte {
	return appendID(streamKey(kIndex, name), id)
}

// The tags of ids: numbers come before text.
const (
	numberTag = 0
	textTag   = 1
)

func appendID(k []byte, id string) []byte {
	if n, ok := numberOf(id); ok {
		return binary.BigEndian.AppendUint64(append(k, numberTag), n)
	}
	return append(append(k, textTag), id...)
}

// numberOf reads an id that is a number in its usual form.
func numberOf(id string) (n uint64, ok bool) {
	if id == "" || len(id) > 20 || id[0] == '0' && id != "0" {
		return 0, false
	}
	n, err := strconv.ParseUint(id, 10, 64)
	return n, err == nil
}

// readID is the inverse of appendID.
func readID(b []byte) (string, bool) {
	switch {
	case len(b) == 9 && b[0] == numberTag:
		return strconv.FormatUint(binary.BigEndian.Uint64(b[1:]), 10), true
	case len(b) >= 1 && b[0] == textTag:
		return string(b[1:]), true
	}
	return "", false
}

func textKey(kind byte, text string) []byte { return append([]byte{kind}, text...) }

func rangePrefix(run string) []byte { return append(textKey(kRange, run), '/') }

func rangeKey(run string, id uint32) []byte {
	return binary.BigEndian.AppendUint32(rangePrefix(run), id)
}

func timeKey(ms int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kTime}, uint64(max(ms, 0)))
}

// versionKey is where a version is put aside: its position, when it was
// superseded (ms) and its id, so that a sweep reads keys alone.
func versionKey(name, id string, seq uint64, ms int64) []byte {
	k := binary.BigEndian.AppendUint64(streamKey(kVersion, name), seq)
	return appendID(binary.BigEndian.AppendUint64(k, uint64(max(ms, 0))), id)
}

// readVersionKey is the inverse of versionKey.
func readVersionKey(key []byte) (name, id string, seq uint64, ms int64, ok bool) {
	name, rest, ok := nameOf(key)
	if !ok || len(rest) < 16 {
		return "", "", 0, 0, false
	}
	id, ok = readID(rest[16:])
	return name, id, binary.BigEndian.Uint64(rest), int64(binary.BigEndian.Uint64(rest[8:])), ok
}

// pastPrefix is of the keys that lead from an id to its versions. The id's
// length comes first, so that none is the beginning of another's.
func pastPrefix(name, id string) []byte {
	own := appendID(nil, id)
	return append(append(streamKey(kPast, name), byte(len(own))), own...)
}

func pastKey(name, id string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(pastPrefix(name, id), seq)
}

func voidKey(name, id string) []byte { return appendID(streamKey(kVoid, name), id) }
