package store

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// Badger writes a memtable's log until the memtable is in a table, and reads the
// logs that it finds to where they make sense. Where the newest one ends early,
// what was committed last is lost, and the floor says so. Where an older one
// does, what stood before shows again between newer commits, and nothing does.
// So the logs are read before: each transaction's number is the one before
// plus one.

// Marks of Badger's on an entry of a log.
const (
	walTxn = 1 << 6
	walFin = 1 << 7
)

// walCommit is a whole transaction in a memtable's log.
type walCommit struct {
	version uint64
	end     int // where the next one begins
}

// walCommits reads the whole transactions of a memtable's log, up to where it
// makes no sense, as Badger does.
func walCommits(b []byte) []walCommit {
	var out []walCommit
	open := uint64(0) // the transaction whose end has not come
	for at := min(logHeader, len(b)); ; {
		meta, key, value, next := walEntry(b, at)
		if next == 0 {
			return out
		}
		at = next
		switch {
		case meta&walTxn != 0:
			if len(key) < 8 {
				return out
			}
			version := ^uint64(0) - binary.BigEndian.Uint64(key[len(key)-8:])
			if open != 0 && version != open {
				return out
			}
			open = version
		case meta&walFin != 0:
			version, err := strconv.ParseUint(string(value), 10, 64)
			if err != nil || version != open {
				return out
			}
			out, open = append(out, walCommit{version, at}), 0
		case open != 0:
			return out
		}
	}
}

// walEntry reads an entry; next is 0 where there is none.
func walEntry(b []byte, at int) (meta byte, key, value []byte, next int) {
	head := at + 2
	var n [3]uint64 // the lengths of key and value, when it expires
	for i := range n {
		if head > len(b) {
			return 0, nil, nil, 0
		}
		v, used := binary.Uvarint(b[head:])
		if used <= 0 {
			return 0, nil, nil, 0
		}
		n[i], head = v, head+used
	}
	if n[0] == 0 || n[0] > 1<<16 || n[1] > uint64(len(b)) {
		return 0, nil, nil, 0
	}
	value0 := head + int(n[0]) //nolint:gosec // bounded above
	end := value0 + int(n[1])  //nolint:gosec // bounded above
	if end+crc32.Size > len(b) || binary.BigEndian.Uint32(b[end:]) != castagnoli(b[at:end]) {
		return 0, nil, nil, 0
	}
	return b[at], b[head:value0], b[value0:end], end + crc32.Size
}

// lostBetween counts the commits that are missing between others: between
// Badger's tables, of which tables is the newest version, and the logs, and
// between and within these.
func lostBetween(dir string, files map[string]int64, tables uint64) (lost uint64, err error) {
	last := tables
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".mem" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return lost, err
		}
		for _, c := range walCommits(b) {
			if c.version > last+1 {
				lost += c.version - last - 1
			}
			last = max(last, c.version)
		}
	}
	return lost, nil
}
