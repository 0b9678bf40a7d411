package simulator

import (
	"strconv"
	"sync"
)

// plan is a set of properties to render: HubSpot's trio and what was asked for.
type plan struct {
	sc    *schema
	props []int // ascending, without the trio

	mu    sync.RWMutex      // guards tails
	tails map[uint64][]byte // by seed, what follows hs_object_id in a pre-rendered record
}

// newPlan drops names that do not exist, as HubSpot does.
func (sc *schema) newPlan(names func(yield func(string) bool)) *plan {
	want := make([]bool, len(sc.props))
	for n := range names {
		if i, ok := sc.index[n]; ok {
			want[i] = true
		}
	}
	p := &plan{sc: sc, tails: make(map[uint64][]byte)}
	for i := trio; i < len(want); i++ {
		if want[i] {
			p.props = append(p.props, i)
		}
	}
	return p
}

// item is a record with the version of it that is to be shown.
type item struct {
	rec *record
	ver *version
	// goneAt is when it was archived, in ms; 0 for a live record.
	goneAt int64
}

// appendItem appends the record as HubSpot writes it.
func (p *plan) appendItem(dst []byte, it item) []byte {
	dst = appendHead(dst, it.rec.id)
	return p.appendTail(dst, it)
}

func appendHead(dst []byte, id uint64) []byte {
	dst = append(dst, `{"id":"`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `","properties":{"hs_object_id":"`...)
	dst = strconv.AppendUint(dst, id, 10)
	return append(dst, '"')
}

func (p *plan) appendTail(dst []byte, it item) []byte {
	sc := p.sc
	dst = append(dst, sc.props[1].key...)
	dst = append(dst, '"')
	dst = appendTime(dst, it.rec.created)
	dst = append(dst, '"')
	dst = append(dst, sc.props[2].key...)
	dst = append(dst, '"')
	dst = appendTime(dst, it.ver.at)
	dst = append(dst, '"')
	for _, i := range p.props {
		dst = append(dst, sc.props[i].key...)
		dst = sc.appendJSON(dst, it.rec.seed, it.ver, i)
	}
	dst = append(dst, `},"createdAt":"`...)
	dst = appendTime(dst, it.rec.created)
	dst = append(dst, `","updatedAt":"`...)
	dst = appendTime(dst, it.ver.at)
	if it.goneAt != 0 {
		dst = append(dst, `","archived":true,"archivedAt":"`...)
		dst = appendTime(dst, it.goneAt)
		return append(dst, `"}`...)
	}
	return append(dst, `","archived":false}`...)
}

// appendJSON appends a property's value as a JSON string or null.
func (sc *schema) appendJSON(dst []byte, seed uint64, v *version, i int) []byte {
	if o, ok := v.override(i); ok {
		if o == nil {
			return append(dst, "null"...)
		}
		at := len(dst) + 1
		dst = append(dst, '"')
		dst = append(dst, *o...)
		return append(escape(dst, at), '"')
	}
	at := len(dst) + 1
	dst = append(dst, '"')
	dst, ok := sc.value(dst, seed, i)
	if !ok {
		return append(dst[:at-1], "null"...)
	}
	if sc.props[i].kind == kindText {
		dst = escape(dst, at)
	}
	return append(dst, '"')
}

// escape makes what stands from at on fit for a JSON string.
func escape(dst []byte, at int) []byte {
	for i := at; i < len(dst); i++ {
		if c := dst[i]; c < ' ' || c == '"' || c == '\\' {
			var room [512]byte // most texts are shorter
			return appendEscaped(dst[:i], append(room[:0], dst[i:]...))
		}
	}
	return dst
}

func appendEscaped[S ~string | ~[]byte](dst []byte, s S) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// text is a property's value as it is; nil is null.
func (sc *schema) text(rec *record, v *version, i int) *string {
	var s string
	switch sc.props[i].kind {
	case kindID:
		s = strconv.FormatUint(rec.id, 10)
	case kindCreated:
		s = string(appendTime(nil, rec.created))
	case kindModified:
		s = string(appendTime(nil, v.at))
	default:
		if o, ok := v.override(i); ok {
			return o
		}
		b, ok := sc.value(nil, rec.seed, i)
		if !ok {
			return nil
		}
		s = string(b)
	}
	return &s
}
