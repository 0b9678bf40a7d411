package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// right is whether an object may be read.
type right string

// The rights.
const (
	mayRead   right = "yes"
	noScope   right = "scope missing"
	notThere  right = "no"
	isHeavy   right = "left out"
	onRequest right = "on request"
)

// finding is what a token can do with an object.
type finding struct {
	object catalogue.Object
	right  right
	why    string // where it is not read
	size   worker.Size
}

// findings are those of every object, in the catalogue's order.
type findings []finding

// heavy are streams that bring more than most people ask about, each with what
// that is.
func heavy() map[string]string {
	return map[string]string{
		"conversation_messages": "the text of every message",
		"email_events":          "every delivery, opening and click of every marketing email",
		"events":                "every visit and click of every contact",
		"list_memberships":      "a row for every record of every list",
		"subscription_statuses": "a row for every contact and subscription",
		"association_labels":    "hardly ever of use by itself",
		"api_usage":             "`hubpipe usage` says it, too",
	}
}

// asked are the properties whose earlier values people ask about.
func asked() map[string][]string {
	return map[string][]string{
		"contacts":  {"hubspot_owner_id", "lifecyclestage"},
		"companies": {"hubspot_owner_id", "lifecyclestage"},
		"deals":     {"amount", "dealstage", "hubspot_owner_id"},
		"tickets":   {"hs_pipeline_stage", "hubspot_owner_id"},
	}
}

// linked are the associations that people ask about.
func linked() map[string][]string {
	return map[string][]string{
		"contacts": {"companies"},
		"deals":    {"contacts", "companies"},
		"tickets":  {"contacts", "companies"},
	}
}

// bodies are properties that hold the whole text of an e-mail.
func bodies() []string {
	return []string{"hs_email_headers", "hs_email_html", "hs_email_text", "hs_email_stripped_html"}
}

// explore tries everything there is, the portal's own objects included.
func (c *command) explore(ctx context.Context, client *hubspot.Client, b beginning) (findings, error) {
	all := catalogue.All()
	own, err := worker.Defined(ctx, client)
	if err != nil && judged(err) == "" {
		return nil, c.cut(ctx, b, "the portal's own objects", err)
	}
	for _, name := range own {
		o, _ := catalogue.Lookup(name)
		all = slices.Insert(all, len(catalogue.Objects()), o)
	}
	live := isTerminal(c.env.Stderr)
	if !live {
		fmt.Fprintf(c.env.Stderr, "HubSpot is asked about %s, which takes up to a minute\n", count(len(all), "object"))
	}
	known := map[string]finding{}
	var out findings
	for i, o := range all {
		if !o.Ready {
			continue
		}
		if live {
			fmt.Fprintf(c.env.Stderr, "\r\x1b[K%d of %d: %s", i+1, len(all), o.Name)
		}
		f, err := explored(ctx, client, o, known)
		if err != nil {
			return nil, c.cut(ctx, b, o.Name, err)
		}
		known[o.Name] = f
		out = append(out, f)
	}
	if live {
		fmt.Fprint(c.env.Stderr, "\r\x1b[K")
	}
	return out, nil
}

// cut says at what the questions ended.
func (c *command) cut(ctx context.Context, b beginning, at string, err error) error {
	if isTerminal(c.env.Stderr) {
		fmt.Fprintln(c.env.Stderr)
	}
	if p, ok := errors.AsType[*worker.ProblemError](err); ok && p.Type == "token" {
		return configErrorf("%s\n  hint: %s", p.Detail, p.Hint)
	}
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	return fmt.Errorf("HubSpot did not say whether %s may be read at %s: %w\n  hint: nothing was written; try it again", at, b.baseURL, err)
}

// judged is the right that an error is, "" where it says nothing of what may be
// read.
func judged(err error) right {
	p, ok := errors.AsType[*worker.ProblemError](err)
	switch {
	case !ok || p.Type == "token":
		return ""
	case p.Type == "scope":
		return noScope
	}
	return notThere
}

func explored(ctx context.Context, client *hubspot.Client, o catalogue.Object, known map[string]finding) (finding, error) {
	f := finding{object: o, right: mayRead}
	if o.OnRequest || o.Endpoint.Parent.Kind == catalogue.ParentPairRecords {
		f.right = onRequest
		return f, nil
	}
	if why, ok := heavy()[o.Name]; ok {
		f.right, f.why = isHeavy, why
		return f, nil
	}
	var err error
	if o.Strategy == catalogue.StrategyObjects {
		f.size, err = worker.Measure(ctx, client, o.Name, []string{"*"}, nil)
	} else if asked, problem := worker.Readable(ctx, client, o); asked {
		err = problem
	} else { // it belongs to another, and needs the same
		of := known[o.Endpoint.Parent.Stream]
		f.right, f.why = of.right, of.why
	}
	if err == nil {
		return f, nil
	}
	if f.right = judged(err); f.right == "" {
		return f, err
	}
	f.why = reason(err)
	return f, nil
}

// reason is an error in a line, without what stands beside it anyway.
func reason(err error) string {
	p, ok := errors.AsType[*worker.ProblemError](err)
	if !ok || p.Detail == "" {
		return clean(err.Error())
	}
	return clean(p.Detail)
}

// needs are the scopes of an object as people read them.
func (f finding) needs() string {
	s := strings.Join(f.object.Scopes, ", ")
	if len(f.object.Instead) > 0 {
		s += " or " + strings.Join(f.object.Instead, " or ")
	}
	return s
}

// may tells whether an object can be read.
func (all findings) may(name string) bool {
	return slices.ContainsFunc(all, func(f finding) bool { return f.object.Name == name && f.right == mayRead })
}

// size answers an estimate with what was measured already.
func (all findings) size(_ context.Context, _ *hubspot.Client, s config.Stream) (worker.Size, error) {
	i := slices.IndexFunc(all, func(f finding) bool { return f.object.Name == s.Object })
	if i < 0 {
		return worker.Size{}, nil
	}
	size := all[i].size
	for _, name := range s.Exclude {
		if slices.Contains(size.Names, name) {
			size.Properties--
		}
	}
	return size, nil
}

// show lists what a token may read. Scopes are there to be copied: none is
// shortened to a screen.
func (all findings) show(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nOBJECT\tREAD\tRECORDS\tNOTE")
	for _, f := range all {
		records, note := "-", f.why
		switch {
		case f.right == mayRead && f.object.Strategy == catalogue.StrategyObjects:
			records = fmt.Sprint(f.size.Records)
		case f.right == noScope || f.right == onRequest:
			note = "needs " + f.needs()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.object.Name, f.right, records, note)
	}
	return w.Flush()
}

// proposal is the text of the configuration.
func proposal(b beginning, account hubspot.Account, all findings) string {
	var t strings.Builder
	fmt.Fprintf(&t, `# What hubpipe copies of HubSpot account %d, as `+"`hubpipe init`"+` found it.
#
#   hubpipe check    says everything that is wrong with it, at once
#   hubpipe plan     says what a change of it would read, and what that costs
#   hubpipe up       runs it
#
# A stream has every property and an interval of its own, unless it says otherwise.

`, account.PortalID)
	t.WriteString(b.portal())
	for _, f := range all {
		if f.right == mayRead {
			t.WriteString("\n" + all.stream(f))
		}
	}
	all.comments(&t, noScope, "The token lacks a scope for these. Add it in HubSpot and take the # away.",
		func(f finding) string { return "needs " + f.needs() })
	all.comments(&t, notThere, "HubSpot does not hand these out in this account.", func(f finding) string { return f.why })
	all.comments(&t, isHeavy, "Left out: these are much, or seldom asked for. Take the # away to have them.", func(f finding) string { return f.why + "; needs " + f.needs() })
	return t.String()
}

// comments are the streams of one right, each with a word.
func (all findings) comments(t *strings.Builder, v right, head string, word func(finding) string) {
	first := true
	for _, f := range all {
		if f.right != v {
			continue
		}
		if first {
			fmt.Fprintf(t, "\n# %s\n", head)
			first = false
		}
		fmt.Fprintf(t, "# %s # %s\n", header(f.object.Name)+" {}", word(f))
	}
}

// header is the beginning of a stream's block.
func header(object string) string {
	return fmt.Sprintf("stream %q", strings.ReplaceAll(strings.ToLower(object), "-", "_"))
}

// stream is the block of one.
func (all findings) stream(f finding) string {
	type setting struct {
		name  string
		items []string
		about string
	}
	has := func(names []string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(f.size.Names, n) })
	}
	name := f.object.Name
	with := slices.DeleteFunc(slices.Clone(linked()[name]), func(n string) bool { return !all.may(n) })
	settings := []setting{{"associations", with, ""}, {"history", has(asked()[name]), "what these have been, with every change"}}
	if name == "emails" {
		settings = append(settings, setting{"exclude", has(bodies()), "the text of every e-mail is heavy"})
	}
	width := 0 // of the names that stand below each other
	for _, s := range settings {
		if len(s.items) > 0 {
			width = max(width, len(s.name))
		}
	}
	lines := []string{}
	if label := strings.ReplaceAll(strings.ToLower(name), "-", "_"); label != name {
		lines = append(lines, fmt.Sprintf("  object = %q", name))
	}
	for _, s := range settings {
		if len(s.items) == 0 {
			continue
		}
		line := fmt.Sprintf("  %-*s = [\"%s\"]", width, s.name, strings.Join(s.items, `", "`))
		if s.about != "" {
			line += " # " + s.about
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return header(name) + " {}\n"
	}
	return header(name) + " {\n" + strings.Join(lines, "\n") + "\n}\n"
}
