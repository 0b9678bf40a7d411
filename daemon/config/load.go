package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Options say where the configuration is and what it may name.
type Options struct {
	// Path is what --config gives; "" looks in the usual places.
	Path string
	// Env looks up a variable, as os.LookupEnv does; nil for none.
	Env func(string) (string, bool)
	// WorkDir, UserDir and SystemDir are the folders looked in, in this order:
	// by default ".", hubpipe in the user's configuration folder, and
	// /etc/hubpipe.
	WorkDir, UserDir, SystemDir string
	// DataHome is the folder in which the default data_dir is; by default the
	// user's data folder.
	DataHome string
	// Now is the time by which a start_date lies ahead; zero for the clock's.
	Now time.Time
	// Objects are the objects that a stream may name; empty for any.
	Objects []string
	// Themes are those that the dashboard may have, CheckKeys says what is wrong
	// with its keys; empty and nil for any.
	Themes    []string
	CheckKeys func(map[string][]string) error
	// Iceberg says that this binary can write tables of Iceberg.
	Iceberg bool
}

func (o Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

// source is one file of the configuration.
type source struct {
	path     string
	text     []byte
	lines    []string
	fragment bool
	order    int
	eval     *hcl.EvalContext
	body     *hclsyntax.Body
}

// loader gathers what is wrong while a configuration is read.
type loader struct {
	o       Options
	schema  map[string]blockSchema
	diags   Diagnostics
	sources []*source
	// outside are the values that env and file gave, as messages may quote them.
	outside []string
	// client says that only a daemon is asked: files that the daemon alone may
	// read are not looked at.
	client bool
	// partial says that a file is left out, because it does not parse.
	partial bool
	orderOf map[string]int
}

func newLoader(o Options) *loader {
	return &loader{o: o.withDefaults(), schema: schema(), orderOf: map[string]int{}}
}

// Load reads the configuration: the file that Options names or that is found,
// and conf.d/*.hcl beside it; without any file, and with HUBSPOT_TOKEN set,
// contacts, companies, deals, tickets, owners and pipelines of the portal "main".
//
// The error is ErrNotFound, an *InvalidError with every mistake, or why a file
// cannot be read; the Config is nil then. Diagnostics are the mistakes and, also
// without an error, what is Blocked: a variable that is not set blocks its
// portal (Portal.Problem) and nothing else.
func Load(o Options) (*Config, Diagnostics, error) {
	l := newLoader(o)
	path, err := l.o.find()
	if err != nil {
		return nil, nil, err
	}
	if path == "" {
		return l.withoutFile()
	}
	if err := l.read(path); err != nil {
		return nil, nil, err
	}
	return l.load()
}

// load parses and checks what has been read.
func (l *loader) load() (*Config, Diagnostics, error) {
	l.parse()
	c := l.config()
	l.sort()
	if bad := l.diags.Invalid(); len(bad) > 0 {
		return nil, l.diags, &InvalidError{bad}
	}
	return c, l.diags, nil
}

// LoadClient reads data_dir and http, and nothing else: other settings may be
// wrong, and variables may be missing. Without any file it returns defaults.
// The error is as Load's.
func LoadClient(o Options) (*ClientConfig, error) {
	l := newLoader(o)
	path, err := l.o.find()
	if err != nil {
		return nil, err
	}
	c := &ClientConfig{Path: path, HTTPListen: DefaultHTTPListen}
	if path == "" {
		c.DataDir, err = l.o.defaultDataDir()
		return c, err
	}
	err = l.forClient(path, func(root *section) {
		c.DataDir = l.dataDir(root)
		h := l.http(root)
		c.HTTPListen, c.HTTPS = h.Listen, h.TLS != nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// forClient gives the main file to read, where it parses. The section of the
// whole file is made by hand, so that nobody looks at the names in it.
func (l *loader) forClient(path string, read func(root *section)) error {
	src, err := l.open(path, false)
	if err != nil {
		return err
	}
	if l.parse() {
		l.client = true
		read(&section{loader: l, src: src, body: src.body, title: "the file"})
	}
	l.sort()
	if bad := l.diags.Invalid(); len(bad) > 0 {
		return &InvalidError{bad}
	}
	return nil
}

// read takes the main file and those in conf.d beside it.
func (l *loader) read(path string) error {
	if _, err := l.open(path, false); err != nil {
		return err
	}
	more, err := filepath.Glob(filepath.Join(globEscape(filepath.Dir(path)), "conf.d", "*.hcl"))
	if err != nil {
		return fmt.Errorf("look for conf.d beside %s: %w", path, err)
	}
	slices.Sort(more)
	for _, p := range more {
		if _, err := l.open(p, true); err != nil {
			return err
		}
	}
	return nil
}

// globEscape makes a folder's name mean itself in a pattern.
func globEscape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func (l *loader) open(path string, fragment bool) (*source, error) {
	text, err := readBounded(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %s", path, plainReason(err))
	}
	return l.add(path, text, fragment), nil
}

func (l *loader) add(path string, text []byte, fragment bool) *source {
	s := &source{path: path, text: text, lines: strings.Split(string(text), "\n"), fragment: fragment,
		order: len(l.sources), eval: evalContext(filepath.Dir(path), l.o.Env, l.fromOutside)}
	l.sources = append(l.sources, s)
	l.orderOf[path] = s.order
	return s
}

// parse reads the syntax of all files; false where one is wrong. That one is
// taken as empty then: what stands in the others is looked at all the same, but
// nothing is missed, since it may stand in the one that does not parse.
func (l *loader) parse() bool {
	for _, s := range l.sources {
		file, diags := hclsyntax.ParseConfig(s.text, s.path, hcl.InitialPos)
		for _, d := range diags {
			line := 0
			if d.Subject != nil {
				line = d.Subject.Start.Line
			}
			summary, hint := syntaxError(d)
			l.report(Invalid, s, line, summary, hint)
			if d.Summary == "Invalid multi-line string" || d.Summary == "Unterminated template string" || d.Summary == "Invalid character" {
				break // from here on HCL takes settings for text, and text for settings
			}
		}
		body, isBody := file.Body.(*hclsyntax.Body)
		if diags.HasErrors() || !isBody {
			l.partial = true
			body = &hclsyntax.Body{}
		}
		s.body = body
	}
	return !l.partial
}

// fromOutside remembers a value that no message shows. Shorter ones than any
// secret are let through: they would punch holes into words.
func (l *loader) fromOutside(v string) {
	if len(v) < 6 {
		return
	}
	if quoted := strconv.Quote(v); quoted[1:len(quoted)-1] != v {
		l.outside = append(l.outside, quoted[1:len(quoted)-1])
	}
	l.outside = append(l.outside, v)
}

// report notes something with its line, once.
func (l *loader) report(severity Severity, src *source, line int, summary, hint string) {
	for _, v := range l.outside {
		summary, hint = strings.ReplaceAll(summary, v, masked), strings.ReplaceAll(hint, v, masked)
	}
	d := Diagnostic{Severity: severity, File: src.path, Line: line, Summary: summary, Hint: hint}
	if line > 0 && line <= len(src.lines) {
		d.Excerpt = excerpt(src.lines[line-1])
	}
	if !slices.Contains(l.diags, d) {
		l.diags = append(l.diags, d)
	}
}

func (l *loader) sort() {
	slices.SortStableFunc(l.diags, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(l.orderOf[a.File], l.orderOf[b.File]), cmp.Compare(a.Line, b.Line))
	})
}

// withoutFile is the configuration of somebody who has a token and no file.
func (l *loader) withoutFile() (*Config, Diagnostics, error) {
	token, ok := l.o.Env(TokenVariable)
	token = strings.TrimSpace(token)
	if !ok || token == "" {
		return nil, nil, l.o.notFound()
	}
	if len(token) > maxText || strings.ContainsFunc(token, isControl) {
		return nil, nil, fmt.Errorf("variable %s holds a line break or another control character", TokenVariable)
	}
	dir, err := l.o.defaultDataDir()
	if err != nil {
		return nil, nil, err
	}
	c := newConfig()
	c.DataDir = dir
	p := newPortal(DefaultPortal)
	p.Token = NewSecret(token)
	c.Portals = []Portal{p}
	for _, object := range append(firstObjects(), "owners", "pipelines") {
		s := DefaultStream()
		s.Interval = intervalOf(object)
		s.Name, s.Label, s.Object, s.Portal = object, object, object, DefaultPortal
		c.Streams = append(c.Streams, s)
	}
	c.relate()
	return c, nil, nil
}
