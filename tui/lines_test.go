package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// A stream's log has its last lines, those from before the dashboard was opened
// too, in order and once, however much other streams say.
func TestLogOfAQuietStream(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100, 30)
	b.connect(everyState()...)
	quiet := func(i int) client.Line {
		return client.Line{Time: noon.Add(time.Duration(i-60) * time.Second), Level: "info", Name: "hubpipe.worker", Stream: "deals", Message: fmt.Sprintf("quiet %02d", i)}
	}
	var earlier []client.Line
	for i := range 50 {
		earlier = append(earlier, quiet(i))
	}
	earlier = append(earlier, someLines()[2]) // which is known
	b.press("enter")
	b.Update(runsMsg{stream: "deals", runs: someRuns(), lines: earlier})
	b.take(news{at: b.now, lines: []client.Line{runLine(client.Run{Stream: "deals", Kind: "incremental", Started: noon.Add(-time.Hour)}), quiet(80)}})
	for i := range 3 * maxLines {
		b.take(news{at: b.now, lines: []client.Line{{Time: noon, Level: "info", Stream: "contacts", Message: fmt.Sprint("noisy ", i)}}})
	}
	b.press("l")
	lines := b.logLines()
	if len(lines) != 53 || !strings.Contains(lines[0].text, "quiet 00") || !strings.Contains(lines[50].text, "codes") || !strings.Contains(lines[52].text, "quiet 80") {
		t.Fatalf("%d lines:\n%s", len(lines), b.frame())
	}
	for i := range lines[1:] {
		if lines[i].seq >= lines[i+1].seq {
			t.Fatalf("line %d is before %d", i+1, i)
		}
	}
	b.press("g")
	if frame := b.frame(); !strings.Contains(frame, "quiet 00") || !strings.Contains(frame, "paused, 0 new") {
		t.Errorf("its first line cannot be gone to:\n%s", frame)
	}
	b.take(news{at: b.now, lines: []client.Line{{Time: noon, Level: "info", Stream: "contacts", Message: "noise"}, quiet(81)}})
	if frame := b.frame(); !strings.Contains(frame, "paused, 1 new") {
		t.Errorf("lines of others count as new:\n%s", frame)
	}
	total := 0
	for i := range 3000 {
		b.take(news{at: b.now, lines: []client.Line{{Time: noon, Level: "info", Stream: fmt.Sprint("s", i), Message: "x"}}})
	}
	for _, own := range b.pic.lines.ofStream {
		total += len(own)
	}
	if total > 2*allOfStreams {
		t.Errorf("%d lines of streams are kept", total)
	}
}

// However many streams a daemon names, each keeps its last line.
func TestLogOfVeryManyStreams(t *testing.T) {
	t.Parallel()
	var r lineRing
	for i := range 2*allOfStreams + 1 {
		r.add(client.Line{Time: noon, Level: "info", Stream: fmt.Sprint("s", i%(allOfStreams+1)), Message: fmt.Sprint(i)})
	}
	if own := r.ofStream["s7"]; len(own) == 0 || own[len(own)-1].Message != fmt.Sprint(7+allOfStreams+1) {
		t.Errorf("%v", own)
	}
}
