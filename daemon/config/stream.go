package config

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	// The zones of `timezone` have to be known on a machine without their files.
	_ "time/tzdata"

	"github.com/robfig/cron/v3"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// chosen is what a block says about portals.
type chosen struct {
	names []string // {"*"} for all, nil when it says nothing, or nothing usable
	// section and setting are where it says so, which may be in defaults.
	section *section
	setting string
}

// streams reads defaults and the stream blocks, and makes a stream of each pair.
func (l *loader) streams(roots []*section, portals []string, c *Config) {
	base, from := DefaultStream(), chosen{}
	base.Interval = 0 // unless it is set, each object has its own
	if s := roots[0].child("defaults"); s != nil {
		s.stream(&base, &from)
		s.checkCron(base)
		s.noPairs(&base)
	}
	seen := map[string]string{}
	for _, root := range roots {
		for _, b := range root.blocks("stream") {
			line := b.TypeRange.Start.Line
			s := l.section(root.src, b.Body, "stream", "stream "+scrub(b.Labels[0]), line)
			one, where := base, from
			one.Label, one.Object = b.Labels[0], b.Labels[0]
			one = deepCopy(one)
			named := checkName(one.Label)
			if named != nil {
				s.at(line, "stream: "+named.Error(), "")
			}
			s.stream(&one, &where)
			s.checkCron(one)
			s.object(&one)
			s.meaningless(&one)
			s.named(&one)
			s.associations(&one)
			if one.Interval == 0 && one.Cron == "" {
				one.Interval = intervalOf(one.Object)
			}
			names := s.choose(where, portals)
			if named == nil {
				s.pairs(one, names, seen, c)
			}
		}
	}
}

// deepCopy gives a stream lists of its own.
func deepCopy(s Stream) Stream {
	for _, l := range []*[]string{&s.Properties, &s.Exclude, &s.Associations, &s.History, &s.Volatile, &s.Named} {
		*l = slices.Clone(*l)
	}
	s.Settle = slices.Clone(s.Settle)
	return s
}

// pairs makes a stream for each portal, and refuses a second one of a name.
func (s *section) pairs(one Stream, portals []string, seen map[string]string, c *Config) {
	for _, p := range portals {
		pair := deepCopy(one)
		pair.Portal, pair.Name = p, one.Label
		if len(portals) > 1 {
			pair.Name = p + "_" + one.Label
		}
		if len(pair.Name) > 64 {
			s.at(s.line, fmt.Sprintf("%s: with its portal it is named %s, above 64 letters", s.title, pair.Name), "")
			continue
		}
		if first, ok := seen[pair.Name]; ok {
			s.at(s.line, fmt.Sprintf("%s: there is a stream named %s already, by %s", s.title, pair.Name, first),
				`give one of the blocks another label, and name its object = "`+scrub(one.Object)+`"`)
			continue
		}
		seen[pair.Name] = fmt.Sprintf("%s:%d", s.src.path, s.line)
		c.Streams = append(c.Streams, pair)
	}
}

func (s *section) object(one *Stream) {
	if t, ok := s.text("object"); ok {
		one.Object = t
	} else if s.has("object") {
		return
	}
	if len(s.o.Objects) == 0 || slices.Contains(s.o.Objects, one.Object) {
		return
	}
	row, ok := catalogue.Lookup(one.Object)
	switch {
	case ok && row.Custom:
	case ok && slices.Contains(s.o.Objects, row.Name):
		one.Object = row.Name // by its type id or another of its names
	case ok && !row.Ready:
		s.at(s.lineOf("object"), fmt.Sprintf("%s: %s are not read yet", s.title, scrub(row.Name)), "leave the block out until hubpipe reads them")
	default:
		s.noObject(one.Object)
	}
}

// noObject says that there is no such object, and what there is.
func (s *section) noObject(name string) {
	hint := didYouMean(name, s.o.Objects)
	if !s.has("object") {
		hint += " (without object = … the label is the object)"
	}
	s.at(s.lineOf("object"), fmt.Sprintf("%s: there is no object %q", s.title, scrub(name)), hint)
}

// choose returns the portals that a stream runs on.
func (s *section) choose(where chosen, portals []string) []string {
	switch {
	case s.partial:
		return nil // the portals may stand in the file that does not parse
	case where.names == nil && len(portals) == 1:
		return portals
	case len(portals) == 0:
		s.at(s.line, s.title+": there is no portal", `add portal "main" { token = env("`+TokenVariable+`") }`)
		return nil
	case where.names == nil && where.section != nil:
		return nil // its value is wrong, and that has been said
	case where.names == nil:
		s.at(s.line, s.title+": it names no portal, and there are "+strings.Join(portals, ", "),
			`add portal = "…", or portals = ["*"] for all of them`)
		return nil
	case slices.Equal(where.names, []string{"*"}):
		return portals
	}
	var out []string
	for _, name := range where.names {
		if !slices.Contains(portals, name) {
			w := where.section
			w.at(w.lineOf(where.setting), fmt.Sprintf("%s: there is no portal %q", w.title, scrub(name)), didYouMean(name, portals))
			continue
		}
		out = append(out, name)
	}
	return out
}

// stream reads the settings that a stream and defaults share, over what holds
// already.
func (s *section) stream(one *Stream, where *chosen) {
	s.portalChoice(where)
	if s.has("interval") && s.has("cron") {
		s.at(s.lineOf("cron"), s.title+" has interval and cron; leave one of them out", "")
	}
	if s.duration("interval", &one.Interval, MinInterval) {
		one.Cron = ""
	}
	if t, ok := s.text("cron"); ok {
		one.Cron, one.Interval = t, 0
	}
	if t, ok := s.text("timezone"); ok {
		if _, err := time.LoadLocation(t); err != nil || t == "Local" {
			s.bad("timezone", "timezone %q is not known; write it like %q", scrub(t), "Europe/Berlin")
		} else {
			one.Timezone = t
		}
	}
	s.boolean("autostart", &one.Autostart)
	for _, l := range []struct {
		name  string
		into  *[]string
		check func(string) error
	}{
		{"properties", &one.Properties, checkItem},
		{"exclude", &one.Exclude, checkPattern},
		{"history", &one.History, checkPattern},
		{"volatile", &one.Volatile, checkPattern},
	} {
		if v, ok := s.list(l.name, l.check); ok {
			*l.into = v
		}
	}
	if v, ok := s.list("associations", checkLinked); ok {
		one.Associations = v
	} else if s.has("associations") {
		one.Associations = nil // what is wrong with it has been said
	}
	if s.has("properties") && len(one.Properties) > 1 && slices.Contains(one.Properties, "*") {
		s.bad("properties", `properties: "*" is all of them, and stands alone`)
	}
	if s.has("properties") && len(one.Properties) == 0 {
		s.bad("properties", `properties is empty; write ["*"] for all of them`)
	}
	if name := forgotten(one); name != "" && (s.has("history") || s.has("properties") || s.has("exclude")) {
		line := s.lineOf("history")
		if !s.has("history") {
			line = s.line
		}
		s.report(Warning, s.src, line, fmt.Sprintf("%s: history names %q, which is not among its properties", s.title, scrub(name)),
			"earlier values are kept of properties that are copied themselves")
	}
	parsed(s, "start_date", "2024-01-31", parseDate, &one.StartDate)
	if s.has("start_date") && one.StartDate.After(s.o.now()) {
		s.report(Warning, s.src, s.lineOf("start_date"), s.title+": start_date lies ahead: nothing is copied that was modified before it", "")
	}
	s.duration("tail", &one.Tail, 0)
	s.settle(&one.Settle)
	s.duration("archived_interval", &one.ArchivedInterval, MinInterval)
	s.duration("reconcile_interval", &one.ReconcileInterval, MinInterval)
	parsed(s, "max_deletes", "2%", ParsePercent, &one.MaxDeletes)
	s.duration("max_lag", &one.MaxLag, MinInterval)
	s.duration("keep_versions", &one.KeepVersions, MinInterval)
}

// forgotten is a property that history names and the stream does not copy, ""
// where there is none. Which of them there are HubSpot alone knows.
func forgotten(one *Stream) string {
	among := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(p, name)
			return ok && err == nil
		})
	}
	for _, name := range one.History {
		if !strings.ContainsAny(name, `*?[\`) && (!among(one.Properties, name) || among(one.Exclude, name)) {
			return name
		}
	}
	return ""
}

func (s *section) portalChoice(where *chosen) {
	if s.has("portal") && s.has("portals") {
		s.at(s.lineOf("portals"), s.title+" has portal and portals; leave one of them out", "")
	}
	if s.has("portal") {
		*where = chosen{nil, s, "portal"}
		if t, ok := s.text("portal"); ok {
			where.names = []string{t}
		}
	}
	if !s.has("portals") {
		return
	}
	*where = chosen{nil, s, "portals"}
	names, ok := s.list("portals", checkItem)
	switch {
	case !ok:
	case len(names) == 0:
		s.bad("portals", `portals is empty; write ["*"] for all of them`)
	case len(names) > 1 && slices.Contains(names, "*"):
		s.bad("portals", `portals: "*" is all of them, and stands alone`)
	default:
		where.names = names
	}
}

func (s *section) settle(into *[]time.Duration) {
	ages, ok := s.list("settle", func(text string) error {
		d, err := ParseDuration(text)
		if err == nil && d < MinInterval {
			err = fmt.Errorf("%q is too short; the shortest is %s", text, FormatDuration(MinInterval))
		}
		return err
	})
	if !ok {
		return
	}
	out := make([]time.Duration, 0, len(ages))
	for _, a := range ages {
		d, err := ParseDuration(a)
		if err != nil {
			continue // the check above has let it through, so it never is
		}
		if len(out) > 0 && d <= out[len(out)-1] {
			s.bad("settle", "settle has to be ascending ages")
			return
		}
		out = append(out, d)
	}
	if len(out) > 8 {
		s.bad("settle", "settle has more than 8 ages; each costs searches in every run")
		return
	}
	*into = out
}

// checkCron holds a stream's cron against its time zone.
func (s *section) checkCron(one Stream) {
	if one.Cron == "" || !s.has("cron") {
		return
	}
	if err := validCron(one.Cron, one.Timezone); err != nil {
		s.bad("cron", "cron %q: %s", scrub(one.Cron), scrub(err.Error()))
	}
}

func validCron(expression, zone string) error {
	if strings.Contains(expression, "TZ=") {
		return errors.New("the zone stands in timezone")
	}
	if len(expression) > 256 {
		return errors.New("it is too long")
	}
	c, err := cron.ParseStandard(expression)
	if err != nil {
		return err
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return err
	}
	// Any moment does: the library looks five years ahead.
	if c.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, loc)).IsZero() {
		return errors.New("it names a time that never comes")
	}
	return nil
}

// parseDate reads a day, which begins at midnight UTC, or a time.
func parseDate(text string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no date; write it like %q or %q", text, "2024-01-31", "2024-01-31T08:00:00Z")
	}
	return t.UTC(), nil
}

// checkItem refuses what is no name in HubSpot's API or here.
func checkItem(t string) error {
	if t == "" || len(t) > 128 || strings.ContainsFunc(t, func(r rune) bool { return isControl(r) || r == ' ' || r == ',' || r == '"' }) {
		return fmt.Errorf("%q is no name", t)
	}
	return nil
}

func checkPattern(t string) error {
	if err := checkItem(t); err != nil {
		return err
	}
	if _, err := path.Match(t, "x"); err != nil {
		return fmt.Errorf("%q is no pattern; write it like %q", t, "hs_analytics_*")
	}
	return nil
}
