package destination

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/rawjson"
)

// What is done with properties that are personal; as it is where it is none of
// these.
const (
	Exclude = "exclude"
	Hash    = "hash"
)

// Choice says what of the properties a destination gets. The first that is so
// holds: excluded, hashed, truncated, kept, personal; all else is as it is.
// Patterns are of properties ("phone", "hs_ip_*"), or of streams and properties
// ("contacts.phone", "*.hs_ip_*").
type Choice struct {
	Exclude, Hash, Keep []string
	Truncate            []Truncation
	// Personal is Exclude or Hash: for properties that HubSpot calls sensitive, and
	// those of a list.
	Personal string
}

// Truncation is to how many characters properties are cut.
type Truncation struct {
	Pattern string
	Length  int
}

// truncateMark is how the marks of what is cut begin.
const truncateMark = "truncate "

// all tells whether everything is as it is.
func (c *Choice) all() bool {
	return len(c.Exclude)+len(c.Hash)+len(c.Truncate) == 0 && c.Personal == ""
}

// matches tells whether a pattern means a property of a stream.
func matches(pattern, streamName, property string) bool {
	if s, p, ok := strings.Cut(pattern, "."); ok {
		if in, err := path.Match(s, streamName); err != nil || !in {
			return false
		}
		pattern = p
	}
	is, err := path.Match(pattern, property)
	return err == nil && is
}

// Rules say what becomes of the properties of one stream in one destination;
// nil of none. They change with HubSpot's definitions. They may be used by
// several goroutines.
type Rules struct {
	choice *Choice
	stream Stream
	salt   []byte
	mark   string // of what is hashed: it names the salt
	// defined are HubSpot's properties, sensitive those of them that it calls so;
	// none where it has no definitions.
	defined, sensitive map[string]bool
	excluded           []string

	mu    sync.RWMutex
	known map[string]string
}

// newRules makes the rules of a stream, by its definitions.
func newRules(c *Choice, x Stream, salt []byte, definitions []stream.Property) *Rules {
	sum := sha256.Sum256(salt)
	r := &Rules{choice: c, stream: x, salt: salt, mark: Hash + " " + hex.EncodeToString(sum[:4]), known: map[string]string{}}
	if len(definitions) > 0 {
		r.defined, r.sensitive = map[string]bool{}, map[string]bool{}
	}
	for _, d := range definitions {
		r.defined[tidy(d.Name)] = true
		if d.Sensitive {
			r.sensitive[tidy(d.Name)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.defined)) {
		if r.Mark(name) == Exclude {
			r.excluded = append(r.excluded, name)
		}
	}
	return r
}

// tidy is a name as databases can have it.
func tidy(name string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", "\uFFFD"), "\uFFFD")
}

// Mark names what is done with a property: "" nothing, Exclude, else text that
// differs where the values do, with the salt for example. What a destination has
// of a property whose mark was another has to be taken away.
func (r *Rules) Mark(property string) string {
	if r == nil {
		return ""
	}
	return r.of([]byte(property))
}

// of is Mark for the records, of which each has every name.
func (r *Rules) of(name []byte) string {
	r.mu.RLock()
	m, ok := r.known[string(name)]
	r.mu.RUnlock()
	if ok {
		return m
	}
	property := string(name)
	m = r.decide(tidy(property))
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) < maxKnown {
		r.known[property] = m
	}
	return m
}

// maxKnown bounds how many properties are remembered.
const maxKnown = 50_000

func (r *Rules) decide(property string) string {
	is := func(p string) bool { return matches(p, r.stream.Name, property) }
	switch {
	case slices.ContainsFunc(r.choice.Exclude, is):
		return Exclude
	case slices.ContainsFunc(r.choice.Hash, is):
		return r.mark
	}
	for _, t := range r.choice.Truncate {
		if is(t.Pattern) {
			return truncateMark + strconv.Itoa(t.Length)
		}
	}
	switch {
	case r.choice.Personal == "", slices.ContainsFunc(r.choice.Keep, is), !r.personal(property):
		return ""
	case r.choice.Personal == Exclude:
		return Exclude
	}
	return r.mark
}

// personal tells whether the preset means a property. Where HubSpot has
// definitions, a property without one may be sensitive: it hides those of which
// the token may not know.
func (r *Rules) personal(property string) bool {
	if r.sensitive[property] || r.defined != nil && !r.defined[property] {
		return true
	}
	return isPersonal(r.stream.Object, property)
}

// Excluded are the properties that HubSpot defines and the destination does not
// get, sorted. They are in no definitions.
func (r *Rules) Excluded() []string {
	if r == nil {
		return nil
	}
	return slices.Clone(r.excluded)
}

// IDs is the mark of the records' ids: those of a few streams are made of an
// address, or of answers.
func (r *Rules) IDs() string {
	if r == nil {
		return ""
	}
	if p := personalIDs()[r.stream.Object]; p != "" && r.Mark(p) != "" {
		return r.mark
	}
	return ""
}

// Key differs where the choice does, or the salt; "" where everything is as it
// is. Whoever cannot take values away one by one goes by it, and by the marks.
func (r *Rules) Key() string {
	if r == nil {
		return ""
	}
	b, err := json.Marshal(r.choice)
	if err != nil {
		return r.mark // a choice always can be
	}
	sum := sha256.Sum256(append(b, r.mark...))
	return hex.EncodeToString(sum[:8])
}

// Origin is the mark of what history says of where values came from.
func (r *Rules) Origin() string {
	switch {
	case r == nil || r.choice.Personal == "":
		return ""
	case r.choice.Personal == Exclude:
		return Exclude
	}
	return r.mark
}

// id is a record's id as the destination gets it.
func (r *Rules) id(id string) string {
	if id == "" || r.IDs() == "" {
		return id
	}
	return r.sum([]byte("\x00id\x00" + id))
}

func (r *Rules) sum(text []byte) string {
	h := hmac.New(sha256.New, r.salt)
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}

// define is the definitions as the destination gets them. What is hashed or cut
// is text, without values to choose from.
func (r *Rules) define(list []stream.Property) []stream.Property {
	out := make([]stream.Property, 0, len(list))
	for _, d := range list {
		switch m := r.Mark(d.Name); m {
		case "":
		case Exclude:
			continue
		default:
			verb, length, _ := strings.Cut(m, " ")
			word := "hashed"
			if verb != Hash {
				word = "first " + length + " characters"
			}
			d.Type, d.FieldType, d.Options, d.Unlisted = "string", "text", nil, false
			d.Label = cmp.Or(d.Label, d.Name) + " (" + word + ")"
		}
		out = append(out, d)
	}
	return out
}

// apply makes of a record what the destination gets.
func (r *Rules) apply(rec *stream.Record) {
	rec.ID, rec.MergedInto = r.id(rec.ID), r.id(rec.MergedInto)
	rec.Properties = rewrite(rec.Properties, '{', func(name, v []byte) []byte { return r.value(r.of(name), v) })
	rec.History = rewrite(rec.History, '{', func(name, list []byte) []byte {
		m := r.of(name)
		if m == Exclude {
			return nil
		}
		return rewrite(list, '[', func(_, entry []byte) []byte {
			return rewrite(entry, '{', func(member, v []byte) []byte {
				if string(member) == "value" {
					return r.value(m, v)
				}
				return r.origin(v)
			})
		})
	})
}

// origin is what is said of where a value came from, in which HubSpot may name a
// person by their address.
func (r *Rules) origin(v []byte) []byte {
	m := r.Origin()
	switch {
	case m == "" || v[0] != '"' || bytes.IndexByte(v, '@') < 0:
		return v
	case m == Exclude:
		return []byte("null")
	}
	return r.value(m, v)
}

// value is a value as a mark has it, nil for none.
func (r *Rules) value(mark string, v []byte) []byte {
	switch {
	case mark == Exclude:
		return nil
	case mark == "" || string(v) == "null" || string(v) == `""`:
		return v
	}
	text := textOf(v)
	if mark == r.mark {
		if text = bytes.ToLower(bytes.TrimSpace(text)); len(text) == 0 {
			return []byte(`""`)
		}
		return []byte(`"` + r.sum(text) + `"`)
	}
	length, _ := strconv.Atoi(mark[len(truncateMark):]) // it is ours
	end := 0
	for ; length > 0 && end < len(text); length-- {
		_, n := utf8.DecodeRune(text[end:])
		end += n
	}
	out, err := json.Marshal(string(text[:end]))
	if err != nil {
		return nil // text always can be
	}
	return out
}

// textOf is the text of a value; of what is no text, its JSON.
func textOf(v []byte) []byte {
	if v[0] != '"' {
		return v
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1]
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		return v
	}
	return []byte(s)
}

// rewrite replaces the members of an object, or the elements of an array, and
// leaves out those of which fn makes nil. What is none of these, or no JSON, is
// nothing: nobody knows what is in it.
func rewrite(raw []byte, open byte, fn func(name, v []byte) []byte) []byte {
	if len(raw) == 0 {
		return raw
	}
	s := rawjson.Scan(raw)
	if !s.Open(open) {
		if string(raw) == "null" {
			return raw
		}
		return nil
	}
	closing := open + 2 // of both kinds in ASCII
	out := append(make([]byte, 0, len(raw)+64), open)
	for n := 0; s.Next(n, closing); n++ {
		var name []byte
		if open == '{' {
			name = s.Name()
		}
		v := s.Value()
		if s.Broken() {
			return nil
		}
		var word []byte
		if open == '{' {
			word = textOf(name)
		}
		if v = fn(word, v); v == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		if open == '{' {
			out = append(append(out, name...), ':')
		}
		out = append(out, v...)
	}
	if !s.End() {
		return nil
	}
	return append(out, closing)
}
