package simulator

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type historyRow struct {
	ID      string
	History map[string][]struct {
		Value, SourceType string
		Timestamp         time.Time
	} `json:"propertiesWithHistory"`
}

func (p *portal) histories(method, path string, body any) []historyRow {
	p.t.Helper()
	a := p.do(method, path, body)
	var got struct{ Results []historyRow }
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
		p.t.Fatalf("%s: status %d, %.200s", path, a.status, a.body)
	}
	return got.Results
}

func TestPropertyHistory(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	o := p.Truth("contacts")[2]
	first := p.one(contactsPath + "/" + o.ID + "?properties=city")
	for _, v := range []any{"Köln", `a "quoted" place`, nil} {
		p.clock.add(time.Hour)
		p.control("contacts", m{"ids": []string{o.ID}, "properties": m{"city": v}})
	}
	p.clock.add(time.Hour)
	p.control("contacts", m{"ids": []string{o.ID}, "properties": m{"zip": "1"}})
	rows := p.histories("GET", contactsPath+"?limit=50&propertiesWithHistory=city,nothing", nil)
	city := rows[2].History["city"]
	if len(rows) != 50 || len(rows[2].History) != 1 || len(city) < 3 {
		t.Fatalf("%d rows, %+v", len(rows), rows[2])
	}
	want := []string{"", `a "quoted" place`, "Köln"}
	if v := first.Properties["city"]; v != nil {
		want = append(want, *v)
	}
	var got []string
	for i, h := range city {
		got = append(got, h.Value)
		if i > 0 && !h.Timestamp.Before(city[i-1].Timestamp) {
			t.Errorf("%v does not follow %v", h.Timestamp, city[i-1].Timestamp)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	batch := p.histories("POST", batchPath, m{"inputs": inputs(o.ID), "propertiesWithHistory": []string{"city"}})
	if d := cmp.Diff(rows[2], batch[0]); d != "" {
		t.Error(d)
	}
	var one historyRow
	if err := json.Unmarshal(p.do("GET", contactsPath+"/"+o.ID+"?propertiesWithHistory=city", nil).body, &one); err != nil || !cmp.Equal(one, rows[2]) {
		t.Errorf("%v: %+v", err, one)
	}
	truth := bytes.Split(bytes.TrimSpace(p.do("GET", "/_simulator/truth/history/contacts?properties=city", nil).body), []byte("\n"))
	if err := json.Unmarshal(truth[2], &one); err != nil || len(truth) != 250 || !cmp.Equal(one, rows[2]) {
		t.Errorf("%v: %d lines, %+v", err, len(truth), one)
	}
}

func TestHistoryLimits(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	all := idList(p.walk(contactsPath, ""))
	p.ok(400, "GET", contactsPath+"?limit=51&propertiesWithHistory=city", nil)
	p.ok(200, "GET", contactsPath+"?limit=51&propertiesWithHistory=nothing", nil)
	p.ok(400, "POST", batchPath, m{"inputs": inputs(all[:51]...), "propertiesWithHistory": []string{"city"}})
	p.ok(200, "POST", batchPath, m{"inputs": inputs(all[:50]...), "propertiesWithHistory": []string{"city"}})
	p.ok(200, "POST", batchPath, m{"inputs": inputs(all[:100]...), "propertiesWithHistory": []string{}})
}

// TestCalculatedHistory always looks as if it had changed just now.
func TestCalculatedHistory(t *testing.T) {
	t.Parallel()
	p := newPortal(t, Options{})
	p.changeProperties(m{"add": []m{{"name": "hs_score", "kind": "number", "fill": 100, "calculated": true}}})
	p.clock.add(time.Hour)
	h := p.histories("GET", contactsPath+"?propertiesWithHistory=hs_score", nil)[0].History["hs_score"]
	if len(h) != 1 || h[0].SourceType != "CALCULATED" || !h[0].Timestamp.Equal(p.clock.now()) {
		t.Errorf("%+v", h)
	}
}
