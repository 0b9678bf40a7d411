package webhook

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// HubSpot's own example, as its documentation and its SDK have it.
func official() (string, Signed) {
	return "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy", Signed{Method: "POST", Addresses: []string{"https://www.example.com/webhook_uri"},
		Body: []byte("{'example_field':'example_value'}"), Timestamp: "1693657560000", Signature: "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	secret, _ := official()
	then := time.UnixMilli(1693657560000)
	for name, c := range map[string]struct {
		change func(*Signed)
		secret string
		now    time.Time
		want   error
	}{
		"HubSpot's example":          {nil, secret, then, nil},
		"almost too late":            {nil, secret, then.Add(Window), nil},
		"a clock behind":             {nil, secret, then.Add(-Window), nil},
		"too late":                   {nil, secret, then.Add(Window + time.Millisecond), ErrStale},
		"from the future":            {nil, secret, then.Add(-Window - time.Millisecond), ErrStale},
		"another secret":             {nil, "z", then, ErrForged},
		"no secret":                  {nil, "", then, ErrForged},
		"another body":               {func(s *Signed) { s.Body = []byte("{}") }, secret, then, ErrForged},
		"another method":             {func(s *Signed) { s.Method = "PUT" }, secret, then, ErrForged},
		"another address":            {func(s *Signed) { s.Addresses = []string{"https://www.example.com/other"} }, secret, then, ErrForged},
		"no address":                 {func(s *Signed) { s.Addresses = nil }, secret, then, ErrForged},
		"one of several addresses":   {func(s *Signed) { s.Addresses = append([]string{"http://127.0.0.1:1/"}, s.Addresses...) }, secret, then, nil},
		"another time":               {func(s *Signed) { s.Timestamp = "1693657560001" }, secret, then, ErrForged},
		"no time":                    {func(s *Signed) { s.Timestamp = "" }, secret, then, ErrUnsigned},
		"a time that is none":        {func(s *Signed) { s.Timestamp = "now" }, secret, then, ErrUnsigned},
		"no signature":               {func(s *Signed) { s.Signature = "" }, secret, then, ErrUnsigned},
		"a signature that is none":   {func(s *Signed) { s.Signature = "*" }, secret, then, ErrForged},
		"a piece of the signature":   {func(s *Signed) { s.Signature = "K36d" }, secret, then, ErrForged},
		"the time moved to the body": {func(s *Signed) { s.Body, s.Timestamp = append(s.Body, '1'), s.Timestamp[1:] }, secret, then, ErrStale},
	} {
		_, s := official()
		if c.change != nil {
			c.change(&s)
		}
		if err := s.Verify(c.secret, c.now); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// What HubSpot decodes before it signs is decoded here, and nothing else.
func TestAddressesAsHubSpotWritesThem(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://h/a%3Ab%2Fc%3F%40%21%24%27%28%29%2A%2C%3B": "https://h/a:b/c?@!$'()*,;",
		"https://h/%3a":    "https://h/:",
		"https://h/%20%2B": "https://h/%20%2B",
		"https://h/%":      "https://h/%",
		"https://h/%3":     "https://h/%3",
		"https://h/%zz":    "https://h/%zz",
		"https://h/%253A":  "https://h/%253A",
	} {
		if got := unescaped(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
		now := time.Now()
		signature, at := Sign("s", "POST", in, []byte("x"), now)
		if err := (Signed{Method: "POST", Addresses: []string{in}, Body: []byte("x"), Timestamp: at, Signature: signature}).Verify("s", now); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want []Hint
	}{
		"HubSpot's fixture": {`[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]`,
			[]Hint{{"0-1", "123", true}}},
		"one event alone":    {`{"portalId":62515,"subscriptionType":"deal.propertyChange","objectId":9,"propertyName":"amount","propertyValue":"1"}`, []Hint{{"0-3", "9", false}}},
		"the other word":     {`[{"portalId":62515,"eventType":"ticket.deletion","objectId":9}]`, []Hint{{"0-5", "9", false}}},
		"an id as text":      {`[{"portalId":"62515","subscriptionType":"company.restore","objectId":"9"}]`, []Hint{{"0-2", "9", true}}},
		"a large id":         {`[{"portalId":62515,"subscriptionType":"line_item.creation","objectId":9007199254740993}]`, []Hint{{"0-8", "9007199254740993", true}}},
		"any object":         {`[{"portalId":62515,"subscriptionType":"object.propertyChange","objectTypeId":"2-77","objectId":5}]`, []Hint{{"2-77", "5", false}}},
		"a privacy deletion": {`[{"portalId":62515,"subscriptionType":"contact.privacyDeletion","objectId":5}]`, []Hint{{"0-1", "5", false}}},
		"a merge": {`[{"portalId":62515,"subscriptionType":"contact.merge","objectId":1,"primaryObjectId":1,"mergedObjectIds":[2,3],"newObjectId":4}]`,
			[]Hint{{"0-1", "1", true}, {"0-1", "1", true}, {"0-1", "4", true}, {"0-1", "2", true}, {"0-1", "3", true}}},
		"an association": {`[{"portalId":62515,"subscriptionType":"deal.associationChange","associationType":"DEAL_TO_CONTACT","fromObjectId":1,"toObjectId":2,"associationRemoved":true}]`,
			[]Hint{{"0-3", "1", true}, {"0-1", "2", true}}},
		"an association of another object": {`[{"portalId":62515,"subscriptionType":"object.associationChange","objectTypeId":"2-7","fromObjectTypeId":"2-7","toObjectTypeId":"0-1","fromObjectId":1,"toObjectId":2}]`,
			[]Hint{{"2-7", "1", true}, {"0-1", "2", true}}},
		"what is no record":      {`[{"portalId":62515,"subscriptionType":"conversation.newMessage","objectId":5},{"portalId":62515,"subscriptionType":"event.completed"}]`, nil},
		"an object without type": {`[{"portalId":62515,"subscriptionType":"object.creation","objectId":5}]`, nil},
		"none":                   {`[]`, nil},
	} {
		got, err := Parse([]byte(c.body), 62515)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	for body, want := range map[string]string{
		`x`:                    "no list of events",
		`[1]`:                  "no list of events",
		`[{}]`:                 "event 0: it names no portalId",
		`[{"portalId":62515}]`: `event 0: "" is no kind`,
		`[{"portalId":62515,"subscriptionType":"contact"}]`:              `"contact" is no kind`,
		`[{"portalId":62515,"subscriptionType":"a.b","objectId":-1}]`:    "is no number",
		`[{"portalId":62515,"subscriptionType":"a.b","objectId":"1/2"}]`: "is no number",
	} {
		if _, err := Parse([]byte(body), 62515); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	// One event of another account, and nothing of the request is taken.
	hints, err := Parse([]byte(`[{"portalId":62515,"subscriptionType":"contact.creation","objectId":1},{"portalId":7,"subscriptionType":"contact.creation","objectId":1}]`), 62515)
	if other := (*OtherPortalError)(nil); !errors.As(err, &other) || other.Got != 7 || hints != nil {
		t.Errorf("%v %v", hints, err)
	}
}

// Whatever comes: no panic, and only ids that are numbers.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"portalId":1,"subscriptionType":"contact.merge","objectId":1,"primaryObjectId":1,"mergedObjectIds":[2,3],"newObjectId":4}]`))
	f.Add([]byte(`{"portalId":"1","subscriptionType":"object.associationChange","associationType":"A_TO_B","fromObjectId":1,"toObjectId":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		hints, err := Parse(body, 1)
		if err != nil && hints != nil {
			t.Fatal("hints beside an error")
		}
		for _, h := range hints {
			if h.Object == "" || h.Record == "" || strings.Trim(h.Record, "0123456789") != "" {
				t.Fatalf("%+v", h)
			}
		}
	})
}
