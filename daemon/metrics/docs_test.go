package metrics

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestPage holds docs/METRICS.md: a line for each metric, in the order of the
// table, and none besides.
func TestPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range rows() {
		kind := "gauge"
		if r.kind == prometheus.CounterValue {
			kind = "counter"
		}
		labels := "–"
		if len(r.labels) > 0 {
			labels = "`" + strings.Join(r.labels, "`, `") + "`"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", r.name, kind, labels, r.help))
	}
	var got []string
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `hubpipe_") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("the page lacks:\n%s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("the page has what is not so:\n%s", line)
		}
	}
}

// TestAlerts holds docs/alerts.yml: its rules ask for metrics that there are,
// with labels that they have.
func TestAlerts(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../docs/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{}
	for _, r := range rows() {
		labels[r.name] = r.labels
	}
	expr := regexp.MustCompile(`(?m)^ +expr: (.+)$`)
	metric := regexp.MustCompile(`\b((?:hubpipe|go|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+) *(?:=|!=|=~|!~) *"([^"]*)"`)
	rules := expr.FindAllStringSubmatch(string(file), -1)
	if alerts := strings.Count(string(file), "- alert: "); len(rules) != alerts || alerts == 0 {
		t.Errorf("%d expressions of %d alerts are read: write each in a line", len(rules), alerts)
	}
	for _, rule := range rules {
		names := metric.FindAllStringSubmatch(rule[1], -1)
		if len(names) == 0 {
			t.Errorf("%s asks for no metric of ours", rule[1])
		}
		for _, m := range names {
			has, ok := labels[m[1]]
			if !ok {
				t.Errorf("there is no %s", m[1])
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(has, l[1]) {
					t.Errorf("%s has no label %s", m[1], l[1])
				}
				if l[1] == "state" && m[1] == "hubpipe_stream_state" && !slices.Contains(states(), l[2]) {
					t.Errorf("no stream is ever %q", l[2])
				}
			}
		}
	}
	for _, word := range regexp.MustCompile(`hubpipe_[a-z0-9_]+`).FindAllString(string(file), -1) {
		if _, ok := labels[word]; !ok {
			t.Errorf("the file names %s, which there is not", word)
		}
	}
}
