package tui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// maxLines is how much of the log the dashboard keeps.
const maxLines = 5000

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
	if i := slices.Index(levels(), strings.ToLower(name)); i >= 0 {
		return i
	}
	return 2
}

func levels() []string { return []string{"trace", "debug", "info", "warn", "error"} }

func newLine(l client.Line) line {
	var b strings.Builder
	if name := strings.TrimPrefix(l.Name, "hubpipe."); name != "" && name != "hubpipe" {
		b.WriteString(name + ": ")
	}
	b.WriteString(l.Message)
	if l.Stream != "" && !strings.Contains(l.Message, l.Stream) {
		b.WriteString("  stream=" + l.Stream)
	}
	keys := make([]string, 0, len(l.Fields))
	for k := range l.Fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		v := l.Fields[k]
		if strings.ContainsAny(v, " \"=") {
			v = fmt.Sprintf("%q", v)
		}
		b.WriteString("  " + k + "=" + v)
	}
	text := clean(b.String())
	return line{Line: l, text: text, lower: strings.ToLower(text), level: levelOf(l.Level)}
}

// lineRing keeps the last lines.
type lineRing struct {
	list  []line
	total uint64 // that ever came
}

func (r *lineRing) add(l client.Line) {
	if len(r.list) >= 2*maxLines {
		r.list = slices.Clone(r.list[len(r.list)-maxLines:])
	}
	r.total++
	x := newLine(l)
	x.seq = r.total
	r.list = append(r.list, x)
}

// last are those that count.
func (r *lineRing) last() []line {
	return r.list[max(0, len(r.list)-maxLines):]
}

// runLine says of a run what a log would.
func runLine(r client.Run) client.Line {
	l := client.Line{Time: r.Started, Level: "info", Name: "run", Stream: r.Stream,
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
