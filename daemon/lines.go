package daemon

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// maxText bounds a message and a value of a kept line.
const maxText = 1024

// lineSink takes in what is logged: whatever the log itself has, and from info
// upwards what it leaves out.
type lineSink struct {
	events *events
	level  func() hclog.Level // the log's own
}

// followLog has the log's lines kept and told of, until undo.
func followLog(log hclog.Logger, e *events) (undo func()) {
	l, ok := log.(hclog.InterceptLogger)
	if !ok {
		return func() {}
	}
	sink := &lineSink{events: e, level: l.GetLevel}
	l.RegisterSink(sink)
	return func() { l.DeregisterSink(sink) }
}

// Accept is called for each line, by whoever logs; it never blocks.
func (s *lineSink) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < min(hclog.Info, s.level()) {
		return
	}
	line := client.Line{Time: time.Now().UTC(), Level: level.String(), Name: name, Message: clipText(msg)}
	for i := 0; i+1 < len(args); i += 2 {
		key, value := fmt.Sprint(args[i]), clipText(valueText(args[i+1]))
		if key == "stream" {
			line.Stream = value
			continue
		}
		if line.Fields == nil {
			line.Fields = make(map[string]string, len(args)/2)
		}
		line.Fields[key] = value
	}
	s.events.line(line)
}

// LogLevel is how much is logged.
func (d *Daemon) LogLevel() client.LogLevel {
	return client.LogLevel{Level: d.log.GetLevel().String(), Configured: *d.logConfigured.Load()}
}

// SetLogLevel changes it, until a reload changes it or the daemon is restarted.
func (d *Daemon) SetLogLevel(level string) client.LogLevel {
	if l := hclog.LevelFromString(level); l != hclog.NoLevel && l != d.log.GetLevel() {
		d.log.Info("the log's level is another", "was", d.log.GetLevel().String(), "is", l.String())
		d.log.SetLevel(l)
	}
	return d.LogLevel()
}

// configureLog takes over a configuration's level where it is another than the
// one before: a level that was set by hand stays through other reloads.
func (d *Daemon) configureLog(level string) {
	if was := d.logConfigured.Swap(&level); *was != level {
		d.SetLogLevel(level)
	}
}

func valueText(v any) string {
	if f, ok := v.(hclog.Format); ok && len(f) > 0 {
		format, _ := f[0].(string)
		return fmt.Sprintf(format, f[1:]...)
	}
	return fmt.Sprint(v)
}

func clipText(s string) string {
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// line keeps a line and tells of it. A reader that is far behind is told how
// many it missed, and is let go for none of them.
func (e *events) line(line client.Line) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	l := loggedLine{e.last, line}
	if len(e.lines) >= 2*keptLines {
		e.lines = slices.Clone(e.lines[len(e.lines)-keptLines:])
	}
	e.lines = append(e.lines, l)
	e.keepOfStream(l)
	var ev client.Event
	for s := range e.subs {
		if len(s.ch) >= lineQueue {
			s.dropped++
			continue
		}
		if s.dropped > 0 {
			left := lineEvent(loggedLine{l.id, client.Line{Time: line.Time, Level: "warn", Name: line.Name,
				Message: fmt.Sprintf("%d lines before this one came too fast and are left out", s.dropped)}})
			s.dropped = 0
			e.send(s, left)
		}
		if ev.ID == 0 {
			ev = lineEvent(l)
		}
		e.send(s, ev)
	}
}

func lineEvent(l loggedLine) client.Event {
	data, _ := json.Marshal(l.line) // text always encodes
	return client.Event{ID: l.id, Type: client.EventLog, Data: data}
}

// Lines gives the last lines, oldest first, of the stream and of at least the
// level where they are named. Of a stream there are its own last lines, however
// much others have said since.
func (e *events) Lines(streamName, level string, limit int) []client.Line {
	e.mu.Lock()
	defer e.mu.Unlock()
	least := hclog.LevelFromString(level) // NoLevel, below all, for ""
	out := []client.Line{}
	take := func(l client.Line) {
		if (streamName == "" || l.Stream == streamName) && hclog.LevelFromString(strings.ToLower(l.Level)) >= least && len(out) < limit {
			out = append(out, l)
		}
	}
	all := e.lines[max(0, len(e.lines)-keptLines):]
	for _, l := range slices.Backward(all) {
		take(l.line)
	}
	for _, l := range slices.Backward(e.ofStream[streamName]) {
		if len(all) == 0 || l.id < all[0].id {
			take(l.line)
		}
	}
	slices.Reverse(out)
	return out
}

// keepOfStream keeps a line with those of its stream; e.mu is held. Streams come
// from the configuration; should there ever be more names than that, those that
// come last are in the common log alone.
func (e *events) keepOfStream(l loggedLine) {
	name := l.line.Stream
	own, known := e.ofStream[name]
	if name == "" || !known && len(e.ofStream) >= mostStreams {
		return
	}
	n := min(streamLines, allStreamLines/max(len(e.ofStream), 1))
	if len(own) >= 2*n {
		own = slices.Clone(own[len(own)-n+1:])
	}
	e.ofStream[name] = append(own, l)
}
