package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// History stands in a record as it came, and not at all where there is none.
func TestHistoryInARecord(t *testing.T) {
	t.Parallel()
	const past = `{"dealstage":[{"value":"won","timestamp":"2026-02-01T00:00:00Z"},{"value":"lost","timestamp":"2026-01-01T00:00:00Z"}]}`
	for _, history := range []string{past, "{}", ""} {
		line, err := AppendRecord(nil, &stream.Record{Head: stream.Head{ID: "1", State: stream.Live}, History: []byte(history)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var rec client.Record
		if err := json.Unmarshal(line, &rec); err != nil || string(rec.History) != history || string(rec.Associations) != "{}" {
			t.Errorf("%v: %s", err, line)
		}
		if strings.Contains(string(line), "history") != (history != "") {
			t.Errorf("%s", line)
		}
		if again, err := json.Marshal(rec); err != nil || strings.Contains(string(again), "history") != (history != "") {
			t.Errorf("%v: %s", err, again)
		}
	}
}
