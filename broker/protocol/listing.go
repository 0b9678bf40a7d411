package protocol

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
)

// archivedMark stands before the time since when what is listed is archived.
const archivedMark = '@'

// appendListed writes a line of a listing: id, version and, where the whole
// record was read, its digest, or, where it is archived, since when.
func appendListed(raw []byte, l *Listed) ([]byte, error) {
	if err := plain(l.ID); err != nil {
		return nil, err
	}
	raw = append(append(raw, l.ID...), '\t')
	raw = strconv.AppendInt(raw, l.Version, 10)
	switch {
	case l.Digest != [16]byte{} && l.ArchivedAt != 0:
		return nil, fmt.Errorf("encode listed id %s: a digest beside the time it was archived: %w", l.ID, ErrUndecodable)
	case l.Digest != [16]byte{}:
		raw = hex.AppendEncode(append(raw, '\t'), l.Digest[:])
	case l.ArchivedAt != 0:
		raw = strconv.AppendInt(append(raw, '\t', archivedMark), l.ArchivedAt, 10)
	}
	return append(raw, '\n'), nil
}

// decodeListed reads an id, its version and what stands behind it.
func decodeListed(line []byte) (Listed, error) {
	id, version, ok := bytes.Cut(line, []byte{'\t'})
	version, more, has := bytes.Cut(version, []byte{'\t'})
	v, err := strconv.ParseInt(string(version), 10, 64)
	l := Listed{ID: string(id), Version: v}
	if !ok || err != nil || l.ID == "" || plain(l.ID) != nil {
		return Listed{}, ErrUndecodable
	}
	if !has {
		return l, nil
	}
	if at, ok := bytes.CutPrefix(more, []byte{archivedMark}); ok {
		if l.ArchivedAt, err = strconv.ParseInt(string(at), 10, 64); err != nil || l.ArchivedAt == 0 {
			return Listed{}, ErrUndecodable
		}
		return l, nil
	}
	if len(more) != 2*len(l.Digest) {
		return Listed{}, ErrUndecodable
	}
	if _, err := hex.Decode(l.Digest[:], more); err != nil || l.Digest == [16]byte{} {
		return Listed{}, ErrUndecodable
	}
	return l, nil
}
