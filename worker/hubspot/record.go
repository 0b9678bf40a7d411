package hubspot

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Record is one object as HubSpot handed it out.
type Record struct {
	ID string
	// Version is the cursor property in ms, updatedAt only where there is none.
	Version    int64
	AsOf       int64 // HubSpot's time when the request began, ms
	CreatedAt  string
	UpdatedAt  string
	ArchivedAt string
	Archived   bool
	MergedInto string
	// Properties is the JSON object as sent, on one line.
	Properties []byte
	Digest     [16]byte
}

var errRecord = errors.New("HubSpot's answer has a record that does not decode")

// results is a page of records: those, and the token of the next page.
type results struct {
	Records []Record
	Next    string
	Total   int
	Missing []string
}

// decodePage reads a page in one pass. Values' bytes are not changed.
func decodePage(body []byte, cursor string, asOf int64) (results, error) {
	var out results
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	err := object(d, func(name string) error {
		switch name {
		case "results":
			return array(d, func() error {
				r, err := decodeRecord(d, cursor, asOf)
				out.Records = append(out.Records, r)
				return err
			})
		case "total":
			v, err := d.ReadValue()
			if err != nil {
				return err
			}
			out.Total, err = strconv.Atoi(string(v))
			return err
		case "paging":
			v, err := d.ReadValue()
			if err != nil {
				return err
			}
			var p struct {
				Next struct {
					After string `json:"after"`
				} `json:"next"`
			}
			if err := json.Unmarshal(v, &p); err != nil {
				return err
			}
			out.Next = p.Next.After
			return nil
		}
		return d.SkipValue()
	})
	if err != nil {
		return results{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	return out, nil
}

func object(d *jsontext.Decoder, f func(name string) error) error {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return errors.Join(errRecord, err)
	}
	for d.PeekKind() != '}' {
		t, err := d.ReadToken()
		if err != nil {
			return err
		}
		if err := f(t.String()); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func array(d *jsontext.Decoder, f func() error) error {
	if t, err := d.ReadToken(); err != nil || t.Kind() != '[' {
		return errors.Join(errRecord, err)
	}
	for d.PeekKind() != ']' {
		if err := f(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

func decodeRecord(d *jsontext.Decoder, cursor string, asOf int64) (Record, error) {
	r := Record{AsOf: asOf}
	version := ""
	err := object(d, func(name string) error {
		switch name {
		case "id":
			return text(d, &r.ID)
		case "createdAt":
			return text(d, &r.CreatedAt)
		case "updatedAt":
			return text(d, &r.UpdatedAt)
		case "archivedAt":
			return text(d, &r.ArchivedAt)
		case "archived":
			v, err := d.ReadValue()
			r.Archived = string(v) == "true"
			return err
		case "properties":
			v, err := d.ReadValue()
			if err != nil {
				return err
			}
			r.Properties, version, err = properties(v, cursor, &r.Digest)
			return err
		}
		return d.SkipValue()
	})
	if err != nil {
		return r, err
	}
	if version == "" {
		version = r.UpdatedAt
	}
	r.Version = Millis(version)
	if r.ID == "" || r.Version == 0 {
		return r, fmt.Errorf("record %q has no id or no time: %w", r.ID, errRecord)
	}
	if r.Archived {
		r.Digest[0] ^= 0xff // archived and live content differ
	}
	return r, nil
}

func text(d *jsontext.Decoder, s *string) error {
	t, err := d.ReadToken()
	if err != nil {
		return err
	}
	if t.Kind() == '"' {
		*s = t.String()
	} else if t.Kind() != 'n' {
		return errRecord
	}
	return nil
}

// properties copies the object on one line, finds the cursor property, and
// digests the names and values that are not null, in the order of the names.
func properties(v jsontext.Value, cursor string, digest *[16]byte) ([]byte, string, error) {
	own := jsontext.Value(bytes.Clone(v))
	if bytes.ContainsAny(own, "\n\r") {
		if err := own.Compact(); err != nil {
			return nil, "", err
		}
	}
	type pair struct{ name, value []byte }
	pairs := make([]pair, 0, 64)
	version := ""
	d := jsontext.NewDecoder(bytes.NewBuffer(own))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, "", errors.Join(errRecord, err)
	}
	for d.PeekKind() != '}' {
		start := d.InputOffset()
		name, err := d.ReadValue()
		if err != nil {
			return nil, "", err
		}
		nameEnd := d.InputOffset()
		_ = start
		n := own[nameEnd-int64(len(name)) : nameEnd]
		value, err := d.ReadValue()
		if err != nil {
			return nil, "", err
		}
		end := d.InputOffset()
		val := own[end-int64(len(value)) : end]
		if val.Kind() == 'n' {
			continue
		}
		if len(n) == len(cursor)+2 && string(n[1:len(n)-1]) == cursor && val.Kind() == '"' {
			version = string(val[1 : len(val)-1])
		}
		pairs = append(pairs, pair{n, val})
	}
	if _, err := d.ReadToken(); err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.name, b.name) })
	buf := make([]byte, 0, len(own)+len(pairs)*2)
	for _, p := range pairs {
		buf = append(buf, p.name...)
		buf = append(buf, ':')
		buf = append(buf, p.value...)
		buf = append(buf, ',')
	}
	sum := sha256.Sum256(buf)
	copy(digest[:], sum[:])
	return own, version, nil
}

// Millis reads a time as HubSpot sends them: ISO with or without a fraction,
// or ms since 1970. It is 0 for anything else.
func Millis(s string) int64 {
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UnixMilli()
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n
	}
	return 0
}
