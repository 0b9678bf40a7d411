package hubspot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// golden is a page in the shapes that HubSpot is known to send.
const golden = `{"results":[
 {"id":"860247707","properties":{"createdate":"2022-02-17T20:19:27.424Z","email":null,"hs_object_id":"860247707","lastmodifieddate":"2026-11-01T10:00:00Z","amount":"N/A","tags":"a;b;c","quote":"said \"no\" \\","note":"Zo\u00eb 👍"},
  "createdAt":"2022-02-17T20:19:27.424Z","updatedAt":"2026-11-02T00:00:00Z","archived":false,"url":"https://app.hubspot.com/x",
  "associations":{"companies":{"results":[{"id":"151","type":"contact_to_company"},{"id":"151","type":"contact_to_company_unlabeled"}],"paging":{"next":{"after":"not this"}}}}},
 {"id":"99","properties":{"lastmodifieddate":"1572480000000"},"createdAt":"2022-02-17T20:19:27Z","updatedAt":"2026-11-02T00:00:00.5Z","archived":true,"archivedAt":"2026-11-03T00:00:00Z"},
 {"id":"100","properties":{},"createdAt":null,"updatedAt":"2026-11-02T00:00:00.001Z"}
],"paging":{"next":{"after":"101","link":"https://api.hubapi.com/crm/v3/objects/contacts?after=102"}}}`

func read(body string) (page, error) {
	r := reading{cursor: "lastmodifieddate", digest: true, asOf: 5, limit: 100}
	return r.page([]byte(body))
}

func TestGoldenPage(t *testing.T) {
	t.Parallel()
	p, err := read(golden)
	if err != nil {
		t.Fatal(err)
	}
	if p.after != "101" || len(p.records) != 3 || p.hasTotal {
		t.Fatalf("%d records, after %q", len(p.records), p.after)
	}
	if p.records[0].Digest == p.records[1].Digest || p.records[0].Digest == [16]byte{} {
		t.Error("digests do not tell records apart")
	}
	for i := range p.records {
		p.records[i].Digest = [16]byte{}
	}
	at := func(s string) int64 {
		m, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return m.UnixMilli()
	}
	want := []Record{
		{ID: "860247707", Version: at("2026-11-01T10:00:00Z"), AsOf: 5, CreatedAt: "2022-02-17T20:19:27.424Z", UpdatedAt: "2026-11-02T00:00:00Z", Properties: []byte(`{"createdate":"2022-02-17T20:19:27.424Z","email":null,"hs_object_id":"860247707","lastmodifieddate":"2026-11-01T10:00:00Z","amount":"N/A","tags":"a;b;c","quote":"said \"no\" \\","note":"Zo\u00eb 👍"}`)},
		{ID: "99", Version: 1572480000000, AsOf: 5, CreatedAt: "2022-02-17T20:19:27Z", UpdatedAt: "2026-11-02T00:00:00.5Z", ArchivedAt: "2026-11-03T00:00:00Z", Archived: true, Properties: []byte(`{"lastmodifieddate":"1572480000000"}`)},
		{ID: "100", Version: at("2026-11-02T00:00:00.001Z"), AsOf: 5, UpdatedAt: "2026-11-02T00:00:00.001Z", Properties: []byte(`{}`)},
	}
	if diff := cmp.Diff(want, p.records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestHostilePages(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`{"id":"1"},`, 101)
	for name, body := range map[string]string{
		"nothing": "", "text": "hello", "html": htmlBody, "an array": `[]`, "null": `null`, "no results": `{"paging":{}}`,
		"results that are none": `{"results":{}}`, "a result that is none": `{"results":[1]}`,
		"no id": `{"results":[{"properties":{}}]}`, "an empty id": `{"results":[{"id":""}]}`, "an id of null": `{"results":[{"id":null}]}`,
		"an id that is an object": `{"results":[{"id":{}}]}`, "an id with a line end": `{"results":[{"id":"1\n2"}]}`, "an id with a tab": `{"results":[{"id":"1\t2"}]}`,
		"a very long id":      `{"results":[{"id":"` + strings.Repeat("9", 200) + `"}]}`,
		"more than asked for": `{"results":[` + strings.TrimSuffix(many, ",") + `]}`,
		"a second value":      `{"results":[]} {}`, "cut": golden[:len(golden)-1], "a total below 0": `{"results":[],"total":-1}`, "a total of text": `{"results":[],"total":"x"}`,
		"too deep": `{"results":[],"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := read(body); err == nil {
				t.Errorf("taken as a page: %+v", p)
			}
		})
	}
}

func TestLenientPages(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ body, id, after, props string }{
		"numbers for texts":       {`{"results":[{"id":7}],"paging":{"next":{"after":8}}}`, "7", "8", `{}`},
		"paging of null":          {`{"results":[{"id":"7"}],"paging":null}`, "7", "", `{}`},
		"next of null":            {`{"results":[{"id":"7"}],"paging":{"next":null}}`, "7", "", `{}`},
		"properties of null":      {`{"results":[{"id":"7","properties":null}]}`, "7", "", `{}`},
		"escaped names":           {`{"results":[{"\u0069d":"7"}]}`, "7", "", `{}`},
		"half a surrogate pair":   {`{"results":[{"id":"7","properties":{"a":"\ud83d"}}]}`, "7", "", `{"a":"\ud83d"}`},
		"a byte that is no text":  {"{\"results\":[{\"id\":\"7\",\"properties\":{\"a\":\"\xff\"}}]}", "7", "", "{\"a\":\"\uFFFD\"}"},
		"several lines":           {"{\"results\":[{\"id\":\"7\",\"properties\":{\n \"a\" : \"b c\",\r\n\t\"d\":null}}]}", "7", "", `{"a":"b c","d":null}`},
		"a value that is no text": {`{"results":[{"id":"7","properties":{"a":1.50,"b":[true]}}]}`, "7", "", `{"a":1.50,"b":[true]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := read(tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.records[0]; got.ID != tt.id || p.after != tt.after || string(got.Properties) != tt.props {
				t.Errorf("id %q, after %q, properties %s", got.ID, p.after, got.Properties)
			}
		})
	}
}

// TestMerged holds that a record names those that were merged into it, also
// where its names are taken to be those of the record before.
func TestMerged(t *testing.T) {
	t.Parallel()
	p, err := read(`{"results":[
 {"id":"1","properties":{"email":"a","hs_calculated_merged_vids":null,"hs_merged_object_ids":null}},
 {"id":"2","properties":{"email":"b","hs_calculated_merged_vids":null,"hs_merged_object_ids":"20;21"}},
 {"id":"3","properties":{"email":"c","hs_calculated_merged_vids":"30:1577836800000;31:1577836800000","hs_merged_object_ids":"31;32"}},
 {"id":"4","properties":{"email":"d","hs_calculated_merged_vids":"","hs_merged_object_ids":""}},
 {"id":"5","properties":{"hs_merged_object\u005fids":"50"}},
 {"id":"6","properties":{"note":"\"hs_merged_object_ids\":\"60\""}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"2": {"20", "21"}, "3": {"31", "32", "30"}, "5": {"50"}}
	for _, r := range p.records {
		if diff := cmp.Diff(want[r.ID], r.Merged); diff != "" {
			t.Errorf("record %s (-want +got):\n%s", r.ID, diff)
		}
	}
}

// TestDigest holds what changes a digest and what does not.
func TestDigest(t *testing.T) {
	t.Parallel()
	of := func(record string) [16]byte {
		r := reading{cursor: "lastmodifieddate", digest: true, limit: 1, quiet: map[string]bool{"days_open": true}}
		p, err := r.page([]byte(`{"results":[` + record + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		return p.records[0].Digest
	}
	base := of(`{"id":"1","properties":{"a":"1","b":"2","c":null}}`)
	for name, other := range map[string]string{
		"order":                `{"id":"1","properties":{"b":"2","c":null,"a":"1"}}`,
		"null and absent":      `{"id":"1","properties":{"a":"1","b":"2"}}`,
		"more that is null":    `{"id":"1","properties":{"a":"1","b":"2","new":null}}`,
		"what the clock moves": `{"id":"1","properties":{"a":"1","b":"2","days_open":"77"}}`,
		"spaces":               `{"id":"1","properties":{ "a" : "1", "b":"2"} }`,
		"times of the record":  `{"id":"1","properties":{"a":"1","b":"2"},"updatedAt":"2026-01-01T00:00:00Z","url":"x"}`,
		"what it is linked to": `{"id":"1","associations":{"x":{"results":[]}},"properties":{"a":"1","b":"2"}}`,
	} {
		if of(other) != base {
			t.Errorf("%s changes the digest", name)
		}
	}
	for name, other := range map[string]string{
		"a value":          `{"id":"1","properties":{"a":"1","b":"3"}}`,
		"an empty value":   `{"id":"1","properties":{"a":"1","b":"2","c":""}}`,
		"a name":           `{"id":"1","properties":{"a":"1","d":"2"}}`,
		"a missing value":  `{"id":"1","properties":{"a":"1"}}`,
		"archived":         `{"id":"1","archived":true,"properties":{"a":"1","b":"2"}}`,
		"another type":     `{"id":"1","properties":{"a":1,"b":"2"}}`,
		"swapped values":   `{"id":"1","properties":{"a":"2","b":"1"}}`,
		"a value's commas": `{"id":"1","properties":{"a":"1,\"b\":\"2"}}`,
	} {
		if of(other) == base {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

// TestRecordBefore holds that a record reads the same whatever stood before it
// on its page: names are looked for where the record before had them.
func TestRecordBefore(t *testing.T) {
	t.Parallel()
	texts := []string{
		`{"id":"1","properties":{"b":"1","a":"2","lastmodifieddate":"1572480000001"}}`,
		`{"id":"2","properties":{"b":"1","a":"2","lastmodifieddate":"1572480000002"}}`,
		`{"id":"3","properties":{"b" :"1","a" : "2", "lastmodifieddate":"1572480000003"}}`,
		`{"id":"4","properties":{ "b":"1" , "a":"2" ,"lastmodifieddate" :"1572480000004" }}`,
		`{"id":"5","properties":{"a":"2","b":"1","lastmodifieddate":"1572480000005"}}`,
		`{"id":"6","properties":{"b":"1","lastmodifieddate":"1572480000006","a":null,"z":{"b":1}}}`,
		`{"id":"7","properties":{"b":"1","a":"2","lastmodifieddate":"1572480000007","c":"3"}}`,
		`{"id":"8","properties":{"b":"1"}}`, `{"id":"9","properties":{}}`, `{"id":"10","properties":null}`, `{"id":"11"}`,
		`{"id":"12","properties":{"b":"1","b":"2","last\u006dodifieddate":"1572480000012"}}`,
		"{\"id\":\"13\",\"properties\":{\"b\":\"\xff\",\"a\":\"2\",\n\"lastmodifieddate\":\"1572480000013\"}}",
	}
	alone := make([]Record, len(texts))
	for i, text := range texts {
		p, err := read(`{"results":[` + text + `]}`)
		if err != nil {
			t.Fatal(err)
		}
		alone[i] = p.records[0]
	}
	for i := range texts {
		for j := range texts {
			p, err := read(`{"results":[` + texts[i] + "," + texts[j] + "," + texts[i] + `]}`)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]Record{alone[i], alone[j], alone[i]}, p.records); diff != "" {
				t.Errorf("%s, then %s (-alone +together):\n%s", texts[i], texts[j], diff)
			}
		}
	}
}

func TestMillis(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"": 0, "soon": 0, "2026": 0, "2026-11-01": 0, "1572480000000": 1572480000000, "2022-02-17T20:19:27.424Z": 1645129167424,
		"2022-02-17T20:19:27Z": 1645129167000, "2022-02-17T21:19:27.424999+01:00": 1645129167424, "99999999999999999999": 0,
	} {
		if got := millis(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

// FuzzPage holds the decoder against encoding/json: what one takes the other
// takes, and values keep their bytes.
func FuzzPage(f *testing.F) {
	for _, s := range []string{golden, pageOf("1", "2"), `{"results":[{"id":7,"properties":{"a":"\ud83d","a":null}}],"total":3}`, `{"results":[]}`, `{`, `{"results":[{"id":"1","propertiesWithHistory":{"a":[{"value":"1","sourceType":"CALCULATED"}],
"b":null}}]}`, `{`, `{"results":[{"id":"1","properties":{"x":"\\\""}}]}`,
		`{"results":[{"id":"1","properties":{"b":"1","a":"2"}},{"id":"2","properties":{"b":"1" ,"a":null}},{"id":"3","properties":{"b" :"1"}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rd := reading{cursor: "lastmodifieddate", digest: true, history: true, asOf: 5, limit: 100}
		p, err := rd.page(bytes.Clone(body))
		if err != nil {
			return
		}
		var want struct {
			Results []map[string]json.RawMessage
		}
		var top map[string]json.RawMessage
		text := bytes.ToValidUTF8(body, []byte("\uFFFD"))
		if err := json.Unmarshal(text, &top); err != nil {
			t.Fatalf("taken, but %v", err)
		}
		if err := json.Unmarshal(top["results"], &want.Results); err != nil {
			return // a name that stands twice
		}
		if len(want.Results) != len(p.records) {
			return // a name that stands twice
		}
		for i, rec := range p.records {
			if rec.ID == "" || strings.ContainsAny(rec.ID, "\n\t") || !json.Valid(rec.Properties) || bytes.ContainsAny(rec.Properties, "\n\r") || !json.Valid(rec.History) || bytes.ContainsAny(rec.History, "\n\r") {
				t.Fatalf("record %q with %s", rec.ID, rec.Properties)
			}
			var id string
			if json.Unmarshal(want.Results[i]["id"], &id) == nil && id != "" && id != rec.ID {
				t.Fatalf("id %q, want %q", rec.ID, id)
			}
			var props map[string]any
			if raw := want.Results[i]["properties"]; json.Unmarshal(raw, &props) == nil && props != nil {
				var got map[string]any
				if err := json.Unmarshal(rec.Properties, &got); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(props, got); diff != "" {
					t.Fatalf("properties (-want +got):\n%s", diff)
				}
			}
		}
	})
}

func BenchmarkPage(b *testing.B) {
	var body bytes.Buffer
	body.WriteString(`{"results":[`)
	for i := range 100 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"id":"%d","properties":{"hs_object_id":"%d","lastmodifieddate":"2026-11-01T10:00:00.123Z"`, i+1, i+1)
		for j := range 38 {
			fmt.Fprintf(&body, `,"property_%02d":"a value of about that length"`, j)
		}
		body.WriteString(`},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-11-01T10:00:00.123Z","archived":false}`)
	}
	body.WriteString(`]}`)
	r := reading{cursor: "lastmodifieddate", digest: true, limit: 100}
	b.SetBytes(int64(body.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.page(body.Bytes()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "us/record")
}
