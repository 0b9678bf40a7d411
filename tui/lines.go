package tui

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// maxLines is how much of the log the dashboard keeps; ofStreamLines of each
// stream besides, fewer where there are many streams, for when others are noisy.
const (
	maxLines      = 5000
	ofStreamLines = 200
	allOfStreams  = 10_000
)

// line is one of the log, made ready once.
type line struct {
	client.Line
	text  string // name, message and fields
	lower string
	level int
	seq   uint64 // grows with each line
}

// levelOf orders levels; what is not known counts as info.
func levelOf(name string) int {
	if i := slices.Index(client.LogLevels(), strings.ToLower(name)); i >= 0 {
		return i
	}
	return 2
}

func newLine(l client.Line) line {
	var b strings.Builder
	if name := strings.TrimPrefix(l.Name, "hubpipe."); name != "" && name != "hubpipe" {
		b.WriteString(name + ": ")
	}
	b.WriteString(l.Message)
	if l.Stream != "" && !strings.Contains(l.Message, l.Stream) {
		b.WriteString("  stream=" + l.Stream)
	}
	for _, k := range slices.Sorted(maps.Keys(l.Fields)) {
		v := l.Fields[k]
		if strings.ContainsAny(v, " \"=") {
			v = fmt.Sprintf("%q", v)
		}
		b.WriteString("  " + k + "=" + v)
	}
	text := clean(b.String())
	l.Level = clean(l.Level)
	return line{Line: l, text: text, lower: strings.ToLower(text), level: levelOf(l.Level)}
}

// firstLine is the number of the first line that comes; what the daemon had
// before stands below it.
const firstLine = 1 << 32

// lineRing keeps the last lines.
type lineRing struct {
	list     []line
	total    uint64            // the number of the last one
	ofStream map[string][]line // the last of each stream
}

func (r *lineRing) add(l client.Line) {
	if len(r.list) >= 2*maxLines {
		r.list = slices.Clone(r.list[len(r.list)-maxLines:])
	}
	r.total = max(r.total, firstLine) + 1
	x := newLine(l)
	x.seq = r.total
	r.list = append(r.list, x)
	if l.Stream == "" {
		return
	}
	if r.ofStream == nil {
		r.ofStream = map[string][]line{}
	}
	own, n := r.ofStream[l.Stream], min(ofStreamLines, max(allOfStreams/max(len(r.ofStream), 1), 1))
	if len(own) >= 2*n {
		own = slices.Clone(own[len(own)-n+1:])
	}
	r.ofStream[l.Stream] = append(own, x)
}

// last are those that count.
func (r *lineRing) last() []line {
	return r.list[max(0, len(r.list)-maxLines):]
}

// of are the lines of a stream, or of all, the oldest first.
func (r *lineRing) of(stream string) []line {
	all := r.last()
	if stream == "" {
		return all
	}
	var out []line
	for _, x := range r.ofStream[stream] {
		if len(all) == 0 || x.seq < all[0].seq {
			out = append(out, x)
		}
	}
	for _, x := range all {
		if x.Stream == stream {
			out = append(out, x)
		}
	}
	return out
}

// before puts in front of a stream's lines what the daemon has of it from before
// the first that came here.
func (r *lineRing) before(stream string, lines []client.Line) {
	own := r.ofStream[stream]
	if i := slices.IndexFunc(own, func(x line) bool { return x.Name != runName }); i >= 0 {
		first := own[i].Time
		lines = lines[:sort.Search(len(lines), func(i int) bool { return !lines[i].Time.Before(first) })]
	}
	lines = lines[max(0, len(lines)-ofStreamLines):]
	older := make([]line, 0, len(lines)+len(own))
	for i, l := range lines {
		x := newLine(l)
		x.seq = firstLine - uint64(len(lines)-i)
		older = append(older, x)
	}
	if r.ofStream == nil {
		r.ofStream = map[string][]line{}
	}
	r.ofStream[stream] = append(older, own...)
	r.total = max(r.total, firstLine)
}

// runName is what the dashboard's own lines about runs are called.
const runName = "run"

// runLine says of a run what a log would.
func runLine(r client.Run) client.Line {
	l := client.Line{Time: r.Started, Level: "info", Name: runName, Stream: r.Stream,
		Message: fmt.Sprintf("%s of %s began", r.Kind, r.Stream), Fields: map[string]string{"run": r.ID}}
	if r.Ended == nil {
		return l
	}
	l.Time = *r.Ended
	l.Message = fmt.Sprintf("%s of %s %s: %s, %s, %s", r.Kind, r.Stream, r.State, howMany(r.Records, "record"),
		howMany(r.Pages, "page"), howMany(r.Requests, "request"))
	if r.Error != nil {
		l.Level = "warn"
		l.Fields["error"] = r.Error.Error()
	}
	return l
}
