package protocol

import (
	"bytes"
	"encoding/hex"
	"strconv"
)

// appendListed writes a line of a listing: id, version and, where the whole
// record was read, its digest.
func appendListed(raw []byte, l *Listed) ([]byte, error) {
	if err := plain(l.ID); err != nil {
		return nil, err
	}
	raw = append(append(raw, l.ID...), '\t')
	raw = strconv.AppendInt(raw, l.Version, 10)
	if l.Digest != [16]byte{} {
		raw = hex.AppendEncode(append(raw, '\t'), l.Digest[:])
	}
	return append(raw, '\n'), nil
}

// decodeListed reads an id, its version and, where there is one, the digest.
func decodeListed(line []byte) (Listed, error) {
	id, version, ok := bytes.Cut(line, []byte{'\t'})
	version, digest, whole := bytes.Cut(version, []byte{'\t'})
	v, err := strconv.ParseInt(string(version), 10, 64)
	if !ok || err != nil || len(id) == 0 {
		return Listed{}, ErrUndecodable
	}
	l := Listed{ID: string(id), Version: v}
	if !whole {
		return l, nil
	}
	if len(digest) != 2*len(l.Digest) {
		return Listed{}, ErrUndecodable
	}
	if _, err := hex.Decode(l.Digest[:], digest); err != nil || l.Digest == [16]byte{} {
		return Listed{}, ErrUndecodable
	}
	return l, nil
}
