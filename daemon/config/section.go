package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"
)

// section is the body of one block, read setting by setting. A setting that is
// wrong becomes a diagnostic and reads as absent, so that reading goes on and
// finds the other mistakes.
type section struct {
	*loader
	src  *source
	body *hclsyntax.Body
	// path is the section's place in schema, title what a message calls it.
	path, title string
	line        int
	// problem takes what blocks the block, instead of a mistake, when a
	// variable is not set; nil where that is a mistake.
	problem *string
}

// section opens a block and notes every name in it that the schema lacks.
func (l *loader) section(src *source, body *hclsyntax.Body, path, title string, line int) *section {
	s := &section{loader: l, src: src, body: body, path: path, title: title, line: line}
	known := l.schema[path]
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		if !known.open && !slices.Contains(known.attributes, name) {
			s.unknown(body.Attributes[name].NameRange.Start.Line, "setting", name, known)
		}
	}
	first := map[string]int{}
	for _, b := range body.Blocks {
		line := b.TypeRange.Start.Line
		child := l.schema[strings.TrimPrefix(path+"."+b.Type, ".")]
		switch {
		case !slices.Contains(known.blocks, b.Type):
			s.unknown(line, "block", b.Type, known)
		case path == "" && src.fragment && !child.fragment:
			s.at(line, b.Type+" has to stand in the main file; conf.d holds "+strings.Join(l.fragments(), ", "), "")
		case len(b.Labels) != child.labels:
			s.at(line, fmt.Sprintf("%s takes %s", b.Type, labels(b.Type, child.labels)), "")
		case child.once && first[b.Type] > 0:
			s.at(line, fmt.Sprintf("%s stands here for a second time; the first is in line %d", b.Type, first[b.Type]), "")
		}
		if first[b.Type] == 0 {
			first[b.Type] = line
		}
	}
	if path == "" && src.fragment {
		for _, name := range known.attributes {
			if a := body.Attributes[name]; a != nil {
				s.at(a.NameRange.Start.Line, name+" has to stand in the main file", "")
			}
		}
	}
	return s
}

// fragments are the blocks that may stand in conf.d.
func (l *loader) fragments() []string {
	return slices.DeleteFunc(slices.Clone(l.schema[""].blocks), func(kind string) bool { return !l.schema[kind].fragment })
}

func labels(kind string, n int) string {
	switch n {
	case 0:
		return "no name: write " + kind + " { … }"
	case 1:
		return "one name: write " + kind + ` "name" { … }`
	}
	return "a type and a name: write " + kind + ` "type" "name" { … }`
}

// unknown notes a name that is not known here, be it a setting or a block.
func (s *section) unknown(line int, kind, name string, known blockSchema) {
	where := s.title
	if s.path == "" {
		where = "the file"
	}
	summary := fmt.Sprintf("%s has no %s %q", where, kind, scrub(name))
	var hint string
	switch {
	case kind == "setting" && slices.Contains(known.blocks, name):
		hint = fmt.Sprintf("%s is a block: write %s { … }, without =", name, name)
	case kind == "block" && slices.Contains(known.attributes, name):
		hint = fmt.Sprintf("%s is a setting: write %s = …", name, name)
	case kind == "block":
		hint = didYouMean(name, known.blocks)
	default:
		hint = didYouMean(name, known.attributes)
		if homes := s.homesOf(name); len(homes) > 0 && nearest(name, known.attributes) == "" {
			hint = name + " belongs into " + strings.Join(homes, " or ") + " { … }"
		}
	}
	s.at(line, summary, hint)
}

// homesOf are the blocks that have a setting of this name.
func (s *section) homesOf(name string) []string {
	var homes []string
	for _, path := range slices.Sorted(maps.Keys(s.schema)) {
		if slices.Contains(s.schema[path].attributes, name) && path != "" {
			homes = append(homes, path[strings.LastIndexByte(path, '.')+1:])
		}
	}
	return homes
}

// blocks returns the blocks of a kind that have their number of labels, and of
// those that may stand once the first.
func (s *section) blocks(kind string) []*hclsyntax.Block {
	child := s.schema[strings.TrimPrefix(s.path+"."+kind, ".")]
	if s.path == "" && s.src.fragment && !child.fragment {
		return nil
	}
	var out []*hclsyntax.Block
	for _, b := range s.body.Blocks {
		if b.Type == kind && len(b.Labels) == child.labels && (!child.once || len(out) == 0) {
			out = append(out, b)
		}
	}
	return out
}

// child opens the one block of a kind, nil where there is none.
func (s *section) child(kind string) *section {
	all := s.blocks(kind)
	if len(all) == 0 {
		return nil
	}
	b, title := all[0], kind
	if s.path != "" {
		title = s.title + ": " + kind
	}
	c := s.section(s.src, b.Body, strings.TrimPrefix(s.path+"."+kind, "."), title, b.TypeRange.Start.Line)
	c.problem = s.problem
	return c
}

func (s *section) has(name string) bool { return s.body.Attributes[name] != nil }

// lineOf is the line of a setting, the block's where it is absent.
func (s *section) lineOf(name string) int {
	if a := s.body.Attributes[name]; a != nil {
		return a.NameRange.Start.Line
	}
	return s.line
}

// at notes a mistake in a line of this section's file.
func (s *section) at(line int, summary, hint string) {
	s.report(Invalid, s.src, line, summary, hint)
}

// bad notes a mistake in a setting.
func (s *section) bad(name, format string, args ...any) {
	s.at(s.lineOf(name), s.title+": "+fmt.Sprintf(format, args...), "")
}

// value evaluates a setting; false where it is absent or its value is unusable,
// which is noted then.
func (s *section) value(name string) (cty.Value, bool) {
	a := s.body.Attributes[name]
	if a == nil {
		return cty.NilVal, false
	}
	v, diags := a.Expr.Value(s.src.eval)
	if diags.HasErrors() {
		s.bad(name, "%s: %s", name, s.evalError(name, diags))
		return cty.NilVal, false
	}
	v, marks := v.UnmarkDeep()
	if !v.IsWhollyKnown() {
		s.missing(name, marks)
		return cty.NilVal, false
	}
	if v.IsNull() {
		s.bad(name, "%s is null; leave it out instead", name)
		return cty.NilVal, false
	}
	return v, true
}

// evalError says why a value cannot be evaluated. HCL quotes names out of the
// source, and a token without its quotes is a name to HCL, so a setting that
// may hold a secret says only what our own functions say.
func (s *section) evalError(name string, diags hcl.Diagnostics) string {
	for _, d := range diags {
		var own *functionError
		if extra, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok && errors.As(extra.FunctionCallError(), &own) {
			return own.Error()
		}
	}
	if s.schema[s.path].secrets || !isPlainSetting(name) {
		return `this is no value; write env("NAME"), file("path") or text in quotes`
	}
	d := diags[0]
	if d.Summary == "Unknown variable" || d.Summary == "Variables not allowed" {
		return "text has to stand in quotes"
	}
	return scrub(lowerFirst(d.Summary) + ": " + strings.ReplaceAll(d.Detail, "\n", " "))
}

// missing notes the variables that a value waits for.
func (s *section) missing(name string, marks cty.ValueMarks) {
	var names []string
	for m := range marks {
		if u, ok := m.(unset); ok {
			names = append(names, string(u))
		}
	}
	slices.Sort(names)
	what := "a variable is not set"
	switch len(names) {
	case 0:
	case 1:
		what = "variable " + names[0] + " is not set"
	default:
		what = "variables " + strings.Join(names, " and ") + " are not set"
	}
	if s.problem == nil {
		s.bad(name, "%s: %s", name, what)
		return
	}
	if *s.problem == "" {
		*s.problem = what
	} else if !strings.Contains(*s.problem, what) {
		*s.problem += "; " + what
	}
	block, _, _ := strings.Cut(s.title, ":")
	hint := `set it, or write the secret into a file and name that: ` + name + ` = file("path")`
	s.report(Blocked, s.src, s.lineOf(name), fmt.Sprintf("%s is blocked: %s", block, what), hint)
}

// text reads a setting that is text and not empty.
func (s *section) text(name string) (string, bool) {
	v, ok := s.value(name)
	if !ok {
		return "", false
	}
	if v.Type() != cty.String {
		s.bad(name, "%s has to be text in quotes", name)
		return "", false
	}
	t := v.AsString()
	switch {
	case t == "":
		s.bad(name, "%s is empty", name)
	case len(t) > maxText || strings.ContainsFunc(t, isControl):
		s.bad(name, "%s holds a line break or another control character, or is too long", name)
	default:
		return t, true
	}
	return "", false
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// literalSecret is from how many bytes on a secret in the file itself is warned
// of; the words of simulators and tests are shorter.
const literalSecret = 16

// secret reads text that nobody shows.
func (s *section) secret(name string, into *Secret) {
	t, ok := s.text(name)
	if !ok {
		return
	}
	*into = NewSecret(t)
	s.literal(name)
}

// literal warns of a secret that stands in the file itself.
func (s *section) literal(name string) {
	if v, diags := s.body.Attributes[name].Expr.Value(nil); !diags.HasErrors() && v.IsWhollyKnown() && len(v.AsString()) >= literalSecret {
		s.report(Warning, s.src, s.lineOf(name), fmt.Sprintf("%s: %s stands in the file itself, where everyone who gets the file reads it", s.title, name),
			"put it into a variable or a file of its own: "+name+` = env("NAME") or file("path")`)
	}
}

func (s *section) boolean(name string, into *bool) {
	v, ok := s.value(name)
	switch {
	case !ok:
	case v.Type() != cty.Bool:
		s.bad(name, "%s has to be true or false, without quotes", name)
	default:
		*into = v.True()
	}
}

func (s *section) integer(name string, into *int, low, high int) {
	v, ok := s.value(name)
	if !ok {
		return
	}
	var n int
	if v.Type() != cty.Number || gocty.FromCtyValue(v, &n) != nil || n < low || n > high {
		s.bad(name, "%s has to be a whole number from %d to %d", name, low, high)
		return
	}
	*into = n
}

// parsed reads text and gives it to parse; a bare number is refused with the
// example.
func parsed[T any](s *section, name, example string, parse func(string) (T, error), into *T) bool {
	v, ok := s.value(name)
	if !ok {
		return false
	}
	if v.Type() != cty.String {
		s.bad(name, "%s has to be text with its unit, like %q", name, example)
		return false
	}
	x, err := parse(v.AsString())
	if err != nil {
		s.bad(name, "%s: %s", name, scrub(err.Error()))
		return false
	}
	*into = x
	return true
}

func (s *section) duration(name string, into *time.Duration, low time.Duration) bool {
	var d time.Duration
	if !parsed(s, name, "5m", ParseDuration, &d) {
		return false
	}
	if d < low {
		s.bad(name, "%s: %s is too short; the shortest is %s", name, FormatDuration(d), FormatDuration(low))
		return false
	}
	*into = d
	return true
}

// list reads a list of different texts, each checked.
func (s *section) list(name string, check func(string) error) ([]string, bool) {
	out, ok := s.texts(name, check)
	for i, t := range out {
		if slices.Contains(out[:i], t) {
			s.bad(name, "%s names %q twice", name, scrub(t))
			return nil, false
		}
	}
	return out, ok
}

// texts reads a list of texts, each checked.
func (s *section) texts(name string, check func(string) error) ([]string, bool) {
	v, ok := s.value(name)
	if !ok {
		return nil, false
	}
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		s.bad(name, `%s has to be a list: write ["…", "…"]`, name)
		return nil, false
	}
	out := []string{}
	for _, e := range v.AsValueSlice() {
		if e.IsNull() || e.Type() != cty.String {
			s.bad(name, "%s: each entry has to be text in quotes", name)
			return nil, false
		}
		t := e.AsString()
		if err := check(t); err != nil {
			s.bad(name, "%s: %s", name, scrub(err.Error()))
			return nil, false
		}
		out = append(out, t)
	}
	return out, true
}

// numbers reads whole numbers by their names.
func (s *section) numbers(name string, low, high int) (map[string]int, bool) {
	v, ok := s.value(name)
	if !ok {
		return nil, false
	}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		s.bad(name, `%s has to be numbers by name: write { "…" = 4 }`, name)
		return nil, false
	}
	out := map[string]int{}
	for key, e := range v.AsValueMap() {
		var n int
		if e.IsNull() || e.Type() != cty.Number || gocty.FromCtyValue(e, &n) != nil || n < low || n > high {
			s.bad(name, "%s: %q has to be a whole number from %d to %d", name, scrub(key), low, high)
			return nil, false
		}
		out[key] = n
	}
	return out, true
}

// secrets reads texts by their names, which nobody shows.
func (s *section) secrets(name string) map[string]Secret {
	v, ok := s.value(name)
	if !ok {
		return nil
	}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		s.bad(name, `%s has to be texts by name: write { "…" = "…" }`, name)
		return nil
	}
	out := map[string]Secret{}
	for key, e := range v.AsValueMap() {
		if e.IsNull() || e.Type() != cty.String || len(e.AsString()) > maxText || strings.ContainsFunc(e.AsString(), isControl) {
			s.bad(name, "%s: %q has to be text in quotes, without line breaks", name, scrub(key))
			return nil
		}
		out[key] = NewSecret(e.AsString())
	}
	return out
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
