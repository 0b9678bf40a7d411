package protocol

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// appendPart writes a line of a page of parts: id, time, digest and the JSON.
func appendPart(raw []byte, p *Part) ([]byte, error) {
	if err := plain(p.ID); err != nil {
		return nil, err
	}
	if bytes.IndexByte(p.Body, '\n') >= 0 {
		return nil, fmt.Errorf("encode part of %s: it is not one line: %w", p.ID, ErrUndecodable)
	}
	raw = append(append(raw, p.ID...), '\t')
	raw = append(strconv.AppendInt(raw, p.AsOf, 10), '\t')
	raw = append(hex.AppendEncode(raw, p.Digest[:]), '\t')
	return append(append(raw, p.Body...), '\n'), nil
}

// decodePart is the inverse of appendPart, without the end of the line.
func decodePart(line []byte) (Part, error) {
	id, rest, ok1 := bytes.Cut(line, []byte{'\t'})
	asOf, rest, ok2 := bytes.Cut(rest, []byte{'\t'})
	digest, body, ok3 := bytes.Cut(rest, []byte{'\t'})
	p := Part{ID: string(id)}
	var err error
	p.AsOf, err = strconv.ParseInt(string(asOf), 10, 64)
	if !ok1 || !ok2 || !ok3 || err != nil || p.ID == "" || plain(p.ID) != nil || len(digest) != 2*len(p.Digest) {
		return Part{}, ErrUndecodable
	}
	if _, err := hex.Decode(p.Digest[:], digest); err != nil {
		return Part{}, fmt.Errorf("digest: %w", ErrUndecodable)
	}
	if len(body) == 0 || body[0] != '{' || !rawjson.Valid(body) {
		return Part{}, fmt.Errorf("the part is not a JSON object: %w", ErrUndecodable)
	}
	p.Body = body
	return p, nil
}
