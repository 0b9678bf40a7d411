package rawjson

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func samples() map[string]string {
	return map[string]string{
		"nothing": "", "space": " \n\t\r", "null": "null", "true": " true ", "false": "false", "nul": "nul", "nulls": "nulls", "True": "True",
		"zero": "0", "minus zero": "-0", "minus": "-", "plus": "+1", "two zeros": "00", "zero and one": "01", "minus zero and one": "-01",
		"fraction": "1.50", "no fraction": "1.", "no whole": ".5", "exponent": "1e9", "signed": "1E-9", "no exponent": "1e", "sign alone": "1e+",
		"hex": "0x1", "two numbers": "1 2", "inf": "Infinity", "NaN": "NaN",
		"text": `"a"`, "empty": `""`, "open": `"a`, "quote": `"a"b"`, "escapes": `"\"\\\/\b\f\n\r\t\u00eB"`, "no escape": `"\x41"`,
		"short escape": `"\u00e"`, "not hex": `"\u00g0"`, "at sign for a digit": `"\u00@0"`, "low digit": "\"\\u00\x100\"", "escape at the end": `"\`, "u at the end": `"\u12`,
		"half a pair": `"\ud83d"`, "line end": "\"a\nb\"", "tab": "\"\t\"", "zero byte": "\"\x00\"", "delete": "\"\x7f\"", "no UTF-8": "\"\xff\"",
		"umlaut": `"Zoë 👍 and more than eight"`, "long": `"` + strings.Repeat("abc d", 50) + `"`, "long, control": `"` + strings.Repeat("abc d", 5) + "\x1f\"",
		"long, escape": `"` + strings.Repeat("abc d", 5) + `\n` + strings.Repeat("abc d", 5) + `"`, "long, slash at the end": `"abcdefghijk\\"`, "high before quote": "\"\xa2\xdc\x9f\x80\"",
		"object": `{}`, "object of one": `{"a":1}`, "spaces": " { \"a\" : [ 1 , { } ] , \"b\":\r\n\"\" }\t", "no value": `{"a"}`, "no colon": `{"a" 1}`,
		"comma behind": `{"a":1,}`, "comma before": `{,"a":1}`, "two commas": `{"a":1,,"b":2}`, "no comma": `{"a":1 "b":2}`, "number as name": `{1:1}`, "name bare": `{a:1}`,
		"array": `[]`, "array of two": `[1,"a"]`, "array, comma behind": `[1,]`, "array, comma alone": `[,]`, "wrong bracket": `[1}`, "wrong brace": `{"a":1]`,
		"array open": `[1`, "array open behind comma": `[1,`, "object open": `{"a":1`, "object open behind name": `{"a":`, "colon in array": `["a":1]`, "bracket behind": `[]]`,
		"deep": strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), "too deep": strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
		"deep objects": strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth), "too deep objects": strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1),
		"deep again and again": "[" + strings.Repeat("[[]],", 20_000) + "1]", "form feed": "\f1", "mark": "\xef\xbb\xbf{}",
	}
}

func TestValidIsAsTheStandardLibrarys(t *testing.T) {
	t.Parallel()
	for name, text := range samples() {
		if got, want := Valid([]byte(text)), json.Valid([]byte(text)); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// walk finds the members of an object, by names where they are seen before.
func walk(b []byte, seen [][]byte) (names []string, values []string, ascii, ok bool) {
	s := Scan(b)
	if !s.Open('{') {
		return nil, nil, false, false
	}
	for n := 0; s.Next(n, '}'); n++ {
		s.Peek()
		if n >= len(seen) || !s.Take(seen[n]) {
			names = append(names, string(s.Name()))
		} else {
			names = append(names, string(seen[n][:len(seen[n])-1]))
		}
		values = append(values, string(s.Value()))
	}
	return names, values, s.ASCII(), s.End()
}

func FuzzScanner(f *testing.F) {
	for text := range maps.Values(samples()) {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	f.Add([]byte(`{"results":[{"id":"1","properties":{"a":"\ud83d","a":null,"b":"said \"no\" \\"}}],"total":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := Valid(b), json.Valid(b); got != want {
			t.Fatalf("valid: %v, want %v", got, want)
		}
		names, values, ascii, ok := walk(b, nil)
		if trimmed := bytes.TrimLeft(b, " \n\t\r"); ok != (json.Valid(b) && trimmed[0] == '{') {
			t.Fatalf("an object: %v", ok)
		}
		if !ok {
			return
		}
		s := Scan(b)
		s.Value()
		if n := bytes.Count(bytes.TrimSpace(b), []byte{'\n'}) + bytes.Count(bytes.TrimSpace(b), []byte{'\r'}); s.End() && s.Lines() < n {
			t.Fatalf("%d ends of lines, want %d", s.Lines(), n)
		}
		if high := bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x80 }); ascii == high {
			t.Fatalf("of ASCII: %v", ascii)
		}
		got, want := map[string]string{}, map[string]json.RawMessage{}
		var seen [][]byte
		for i := range names {
			var name string
			if err := json.Unmarshal([]byte(names[i]), &name); err != nil {
				t.Fatalf("name %q: %v", names[i], err)
			}
			got[name] = values[i]
			seen = append(seen, []byte(names[i]+":"))
		}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Fatalf("%q is %q, want %q", name, got[name], value)
			}
		}
		again, same, _, ok := walk(b, seen)
		if diff := cmp.Diff([][]string{names, values}, [][]string{again, same}); diff != "" || !ok {
			t.Fatalf("with the names before (-want +got):\n%s", diff)
		}
	})
}

func BenchmarkValid(b *testing.B) {
	text := []byte(`{"hs_object_id":"123456","lastmodifieddate":"2026-11-01T10:00:00.123Z","email":null` +
		strings.Repeat(`,"a_property_of_ours":"a value of that length"`, 38) + `}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !Valid(text) {
			b.Fatal("not valid")
		}
	}
}
