package worker

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What HubSpot writes for a type is of it, in all its forms, and what people have
// written into it is not. Empty values are none.
func TestUntypedValues(t *testing.T) {
	t.Parallel()
	types := typesOf([]byte(`[{"name":"n","type":"number"},{"name":"b","type":"bool"},{"name":"d","type":"date"},{"name":"t","type":"datetime"},{"name":"s","type":"string"},{"name":"e","type":"enumeration"}]`))
	for properties, want := range map[string]map[string]uint64{
		`{"n":"12.50","b":"true","d":"2024-02-29","t":"2024-02-29T10:00:00.123Z","s":"N/A","e":"x"}`: {},
		`{"n":"-1e3","b":"FALSE","d":"1709164800000","t":"2024-02-29T10:00:00Z"}`:                    {},
		`{"d":"1709164800000.0","t":"2024-02-29T10:00:00+0100"}`:                                     {},
		`{"n":null,"b":"","d":null,"t":""}`:                                                          {},
		`{"n":"N/A","b":"yes","d":"tomorrow","t":"2024-02-30","s":"1"}`:                              {"n": 1, "b": 1, "d": 1, "t": 1},
		`{"n":"0x10"}`:     {"n": 1},
		`{"n":"Infinity"}`: {"n": 1},
		`{"n":"1,000"}`:    {"n": 1},
		`{"n":"\u0031"}`:   {},
		`{"n":"\"1\""}`:    {"n": 1},
		`{"unknown":"x"`:   {},
		`[]`:               {},
	} {
		got := map[string]uint64{}
		types.count([]byte(properties), got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", properties, d)
		}
	}
	if typesOf([]byte("{")) != nil {
		t.Error("of what are no definitions there are checks")
	}
}

func BenchmarkUntypedValues(b *testing.B) {
	types := typesOf([]byte(`[{"name":"amount","type":"number"},{"name":"closedate","type":"datetime"}]`))
	record := []byte(`{"amount":"1200.50","closedate":"2024-02-29T10:00:00.123Z","dealname":"One of many deals","dealstage":"closedwon","hs_object_id":"860247707","pipeline":"default"}`)
	into := map[string]uint64{}
	b.ReportAllocs()
	for b.Loop() {
		types.count(record, into)
	}
}
