package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	// nameForm is what streams and portals may be called, idForm a worker.
	nameForm = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
	idForm   = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)
	// prefixForm keeps wildcards and empty levels out of topics.
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,3}$`)
)

// Bounds of max_packet: a page with its envelope has to fit in, and MQTT knows
// no larger packet.
const (
	minMaxPacket Size = 320 << 10
	maxMaxPacket Size = 268_435_455
)

func newConfig() *Config {
	return &Config{
		HTTP:   HTTP{Listen: DefaultHTTPListen},
		Broker: Broker{Listen: DefaultBrokerListen, Prefix: DefaultPrefix, Changes: DefaultChanges, MaxPacket: DefaultMaxPacket},
		Worker: Worker{Concurrency: DefaultConcurrency},
		Log:    Log{Level: DefaultLogLevel, Format: DefaultLogFormat},

		Dashboard: Dashboard{Theme: DefaultTheme},
	}
}

// config reads all files, the main one first.
func (l *loader) config() *Config {
	c := newConfig()
	c.Path = l.sources[0].path
	roots := make([]*section, len(l.sources))
	for i, src := range l.sources {
		roots[i] = l.section(src, src.body, "", "the file", 0)
	}
	main := roots[0]
	c.DataDir = l.dataDir(main)
	c.HTTP = l.http(main)
	l.broker(main, &c.Broker)
	l.ports(main, c)
	l.worker(main, &c.Worker)
	l.log(main, &c.Log)
	l.users(roots, c)
	names := l.portals(roots, c)
	l.streams(roots, names, c)
	c.relate()
	l.destinations(roots, c)
	l.notify(roots, c)
	l.dashboard(main, &c.Dashboard)
	if len(c.Streams) == 0 && len(l.diags.Invalid()) == 0 {
		main.report(Warning, main.src, 0, "no streams: nothing will be fetched", `add stream "contacts" {}`)
	}
	return c
}

func (l *loader) dataDir(root *section) string {
	if !root.has("data_dir") {
		dir, err := l.o.defaultDataDir()
		if err != nil {
			root.report(Invalid, root.src, 0, err.Error(), "set data_dir")
		}
		return dir
	}
	dir, ok := root.text("data_dir")
	if !ok {
		return ""
	}
	if rest, home := strings.CutPrefix(dir, "~/"); home {
		if h, ok := l.o.Env("HOME"); ok && filepath.IsAbs(h) {
			dir = filepath.Join(h, rest)
		}
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(root.src.path), dir)
	}
	abs, err := checkDataDir(dir)
	if err != nil {
		root.at(root.lineOf("data_dir"), err.Error(), "")
	}
	return abs
}

func (l *loader) broker(root *section, b *Broker) {
	s := root.child("broker")
	if s == nil {
		return
	}
	b.TLS = s.tls(!s.has("url"))
	s.listen(&b.Listen, b.TLS != nil && !s.has("url"))
	if t, ok := s.text("username"); ok {
		b.Username = t
	}
	s.secret("password", &b.Password)
	if t, ok := s.text("prefix"); ok {
		if prefixForm.MatchString(t) {
			b.Prefix = t
		} else {
			s.bad("prefix", "prefix %q has to be letters, digits, - and _, in at most four levels with /", scrub(t))
		}
	}
	s.boolean("changes", &b.Changes)
	var size Size
	if parsed(s, "max_packet", "1MiB", ParseSize, &size) {
		if size < minMaxPacket || size > maxMaxPacket {
			s.bad("max_packet", "max_packet %s does not lie from %s to 256MiB less one byte", size, minMaxPacket)
		} else {
			b.MaxPacket = size
		}
	}
	if s.has("url") {
		s.brokerURL(b)
	} else if s.has("username") || s.has("password") {
		s.at(s.line, "broker: username and password belong to url, and there is none",
			"the embedded broker takes the token of `hubpipe token`")
	}
}

func (l *loader) worker(root *section, w *Worker) {
	s := root.child("worker")
	if s == nil {
		return
	}
	s.integer("concurrency", &w.Concurrency, 1, 1024)
	if t, ok := s.text("name"); ok {
		if idForm.MatchString(t) {
			w.Name = t
		} else {
			s.bad("name", "name %q has to be 1 to 64 of a-z, 0-9, _ and -", scrub(t))
		}
	}
}

func (l *loader) log(root *section, g *Log) {
	s := root.child("log")
	if s == nil {
		return
	}
	s.oneOf("level", &g.Level, "trace", "debug", "info", "warn", "error")
	s.oneOf("format", &g.Format, "text", "json")
}

func (s *section) oneOf(name string, into *string, known ...string) {
	t, ok := s.text(name)
	switch {
	case !ok:
	case slices.Contains(known, t):
		*into = t
	default:
		s.at(s.lineOf(name), fmt.Sprintf("%s: %s has no value %q", s.title, name, scrub(t)), didYouMean(t, known))
	}
}

// checkName checks what a block is called.
func checkName(name string) error {
	switch {
	case !nameForm.MatchString(name):
		return fmt.Errorf("name %q has to be 1 to 64 of a-z, 0-9 and _", scrub(name))
	case name == "all":
		return errors.New(`"all" stands for all of them, and names none`)
	}
	return nil
}
