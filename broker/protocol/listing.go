package protocol

import (
	"bytes"
	"encoding/hex"
	"strconv"
)

// appendListed writes a line of a listing: id, version and, where the whole
// record was read, its digest.
func appendListed(raw *bytes.Buffer, l *Listed) error {
	if err := plain(l.ID); err != nil {
		return err
	}
	var num [20]byte
	raw.WriteString(l.ID)
	raw.WriteByte('\t')
	raw.Write(strconv.AppendInt(num[:0], l.Version, 10))
	if l.Digest != [16]byte{} {
		raw.WriteByte('\t')
		raw.WriteString(hex.EncodeToString(l.Digest[:]))
	}
	raw.WriteByte('\n')
	return nil
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
