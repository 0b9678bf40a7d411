package simulator

import (
	"fmt"
	"strconv"
	"time"
)

type kind uint8

const (
	kindID kind = iota
	kindCreated
	kindModified
	kindName
	kindWord
	kindEmail
	kindPhone
	kindText
	kindNumber
	kindEnum
	kindMulti
	kindDate
	kindDatetime
	kindBool
	kindDays
	kindElapsed
)

// wire is how a kind shows in a property definition.
func (k kind) wire() (typ, field string) {
	switch k {
	case kindID, kindNumber, kindDays, kindElapsed:
		return "number", "number"
	case kindCreated, kindModified, kindDatetime:
		return "datetime", "date"
	case kindPhone:
		return "string", "phonenumber"
	case kindText:
		return "string", "textarea"
	case kindEnum:
		return "enumeration", "select"
	case kindMulti:
		return "enumeration", "checkbox"
	case kindDate:
		return "date", "date"
	case kindBool:
		return "bool", "booleancheckbox"
	default:
		return "string", "text"
	}
}

type property struct {
	name string
	key  string // `,"name":`
	kind kind
	fill uint64 // how many of 100 records have a value
	// fixed says that only HubSpot itself gives it values.
	fixed bool
	// shown is the kind that its definition tells.
	shown                       kind
	calculated, removed, hidden bool
	sensitive                   string
	turns                       []uint64 // of each recalculation, in how many of 100 records it had a new value
}

type definition struct {
	name, typeID, singular string
	paths                  []string // further names in addresses
	custom                 string   // the plain name of an object that the portal has defined
	version                string   // the one dated version that serves it; empty for all
	cursor, created, scope string
	props                  []property
}

// objects are all objects of the CRM, with their standard properties behind
// the trio of id, creation and modification.
func objects(o Options) []definition {
	all := append(firstObjects(), furtherObjects()...)
	return append(all, customObjects(o)...)
}

// firstObjects are the four that most portals have the most of.
func firstObjects() []definition {
	first := func(name, typeID, singular, cursor, scope string, props []property) definition {
		return definition{name: name, typeID: typeID, singular: singular, cursor: cursor, created: "createdate", scope: scope, props: props}
	}
	return []definition{
		first("contacts", "0-1", "CONTACT", "lastmodifieddate", "crm.objects.contacts.read", standard(
			"email", kindEmail, "firstname", kindName, "lastname", kindName, "phone", kindPhone, "company", kindName,
			"city", kindWord, "zip", kindNumber, "lifecyclestage", kindEnum, "hs_lead_status", kindEnum,
			"annualrevenue", kindNumber, "hubspot_owner_id", kindNumber, "hs_email_optout", kindBool,
			"message", kindText, "closedate", kindDatetime, "date_of_birth", kindDate, "hs_buying_role", kindMulti)),
		first("companies", "0-2", "COMPANY", "hs_lastmodifieddate", "crm.objects.companies.read", standard(
			"name", kindName, "domain", kindWord, "phone", kindPhone, "city", kindWord, "country", kindWord,
			"industry", kindEnum, "numberofemployees", kindNumber, "annualrevenue", kindNumber, "lifecyclestage", kindEnum,
			"description", kindText, "hubspot_owner_id", kindNumber, "is_public", kindBool, "founded_on", kindDate)),
		first("deals", "0-3", "DEAL", "hs_lastmodifieddate", "crm.objects.deals.read", standard(
			"dealname", kindName, "amount", kindNumber, "closedate", kindDatetime, "pipeline", kindEnum, "dealstage", kindEnum,
			"dealtype", kindEnum, "description", kindText, "hubspot_owner_id", kindNumber, "hs_priority", kindEnum,
			"hs_is_closed", kindBool, "hs_tag_ids", kindMulti, "renewal_date", kindDate)),
		first("tickets", "0-5", "TICKET", "hs_lastmodifieddate", "tickets", standard(
			"subject", kindName, "content", kindText, "hs_pipeline", kindEnum, "hs_pipeline_stage", kindEnum,
			"hs_ticket_priority", kindEnum, "hs_ticket_category", kindMulti, "source_type", kindEnum,
			"hubspot_owner_id", kindNumber, "closed_date", kindDatetime, "hs_num_times_contacted", kindNumber)),
	}
}

func standard(pairs ...any) []property {
	ps := make([]property, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		k, _ := pairs[i+1].(kind)
		ps = append(ps, property{name: name, kind: k, fill: 90})
	}
	return ps
}

// trio is how many properties HubSpot adds to whatever is asked for.
const trio = 3

// filled is up to which property most records have a value: a portal's many
// hundred further ones are mostly empty.
const filled = 60

type schema struct {
	definition
	index map[string]int // of those that a token may see
	salt  uint64
	now   func() time.Time
}

func newSchema(d definition, o Options) *schema {
	n := max(o.Properties, trio)
	ps := []property{
		{name: "hs_object_id", kind: kindID, fill: 100},
		{name: d.created, kind: kindCreated, fill: 100},
		{name: d.cursor, kind: kindModified, fill: 100},
	}
	ps = append(ps, d.props...)
	subjects := []string{"campaign", "onboarding", "renewal", "support", "billing", "partner", "newsletter"}
	kinds := []struct {
		suffix string
		kind   kind
	}{
		{"remarks", kindText}, {"score", kindNumber}, {"segment", kindEnum}, {"topics", kindMulti},
		{"due_on", kindDate}, {"seen_at", kindDatetime}, {"enabled", kindBool}, {"label", kindName},
	}
	for i := len(ps); i < n; i++ {
		k := kinds[i%len(kinds)]
		p := property{name: fmt.Sprintf("acme_%s_%s_%03d", subjects[i%len(subjects)], k.suffix, i), kind: k.kind, fill: 80}
		if i >= filled {
			p.fill = 12
		}
		ps = append(ps, p)
	}
	sc := &schema{definition: d, index: make(map[string]int, n), salt: mix(uint64(o.Seed) ^ hashString(d.name)), now: o.Now}
	sc.props = withMerges(ps, n, d)
	for i := range sc.props {
		sc.props[i].key = `,"` + sc.props[i].name + `":`
		sc.props[i].shown = sc.props[i].kind
		sc.index[sc.props[i].name] = i
	}
	return sc
}

// mix is splitmix64's finisher: one draw from one number.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// value appends the value that a record with this seed has from the start;
// false means null. It needs escaping before it stands in JSON.
func (sc *schema) value(dst []byte, seed uint64, i int) ([]byte, bool) {
	p := &sc.props[i]
	h := mix(seed ^ sc.salt + uint64(i)*0xd1342543de82ef95)
	if h%100 >= p.fill {
		return dst, false
	}
	h = mix(h)
	if p.kind >= kindDays {
		return sc.clocked(dst, p.kind, h), true
	}
	if len(p.turns) > 0 {
		h = mix(h + p.turn(seed))
	}
	return appendDrawn(dst, p.kind, h), true
}

// appendDrawn appends a value of a kind, one for each h. A few of them are
// what portals really hold: text in numbers, empty strings, other date forms.
func appendDrawn(dst []byte, k kind, h uint64) []byte {
	odd := h % 64
	h >>= 6
	switch k {
	case kindName:
		dst = append(dst, pick(nameWords[:], h)...)
		dst = append(dst, ' ')
		return append(dst, pick(nameWords[:], h>>8)...)
	case kindWord:
		return append(dst, pick(nameWords[:], h)...)
	case kindEmail:
		dst = append(dst, pick(mailWords[:], h)...)
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, h%100000000, 10)
		return append(dst, "@example.com"...)
	case kindPhone:
		if odd == 0 {
			return dst
		}
		dst = append(dst, "+49 30 "...)
		return strconv.AppendUint(dst, 1000000+h%8999999, 10)
	case kindText:
		if odd < 2 {
			return dst
		}
		for i := range 2 + h%3 {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = append(dst, pick(sentences[:], h>>(8+4*i))...)
		}
		return dst
	case kindNumber:
		switch odd {
		case 0:
			return append(dst, "N/A"...)
		case 1:
			return dst
		case 2, 3, 4, 5, 6, 7, 8, 9:
			dst = strconv.AppendUint(dst, h%100000, 10)
			dst = append(dst, '.')
			return strconv.AppendUint(dst, h>>20%100, 10)
		}
		return strconv.AppendUint(dst, h%10000000, 10)
	case kindEnum:
		return append(dst, pick(options[:], h)...)
	case kindMulti:
		for i := range 1 + h%4 {
			if i > 0 {
				dst = append(dst, ';')
			}
			dst = append(dst, pick(options[:], h>>2+i*3)...)
		}
		return dst
	case kindDate:
		t := firstDay + int64(h%9000)*dayMS
		if odd == 0 {
			return strconv.AppendInt(dst, t, 10)
		}
		return time.UnixMilli(t).UTC().AppendFormat(dst, time.DateOnly)
	case kindDatetime:
		t := firstDay + int64(h%(9000*dayMS))
		if odd < 16 {
			t -= t % 1000
		}
		return appendTime(dst, t)
	case kindBool:
		return strconv.AppendBool(dst, h&1 == 0)
	default:
		return dst
	}
}

const (
	dayMS    = 24 * 60 * 60 * 1000
	firstDay = 946684800000 // 2000-01-01
)

func pick(from []string, h uint64) string { return from[h%uint64(len(from))] }

// appendTime appends ms as HubSpot writes times: the fraction is dropped where
// it is zero.
func appendTime(dst []byte, ms int64) []byte {
	t := time.UnixMilli(ms).UTC()
	y, mo, d := t.Date()
	h, mi, s := t.Clock()
	dst = pad(dst, y, 4)
	dst = append(dst, '-')
	dst = pad(dst, int(mo), 2)
	dst = append(dst, '-')
	dst = pad(dst, d, 2)
	dst = append(dst, 'T')
	dst = pad(dst, h, 2)
	dst = append(dst, ':')
	dst = pad(dst, mi, 2)
	dst = append(dst, ':')
	dst = pad(dst, s, 2)
	if f := int(((ms % 1000) + 1000) % 1000); f != 0 {
		dst = append(dst, '.')
		dst = pad(dst, f, 3)
	}
	return append(dst, 'Z')
}

func pad(dst []byte, v, n int) []byte {
	at := len(dst)
	for range n {
		dst = append(dst, '0')
	}
	for i := at + n - 1; i >= at && v > 0; i, v = i-1, v/10 {
		dst[i] = byte('0' + v%10)
	}
	return dst
}
