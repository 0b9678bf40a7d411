package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/notify"
)

// notify reads the blocks that say where people are told what is wrong.
func (l *loader) notify(roots []*section, c *Config) {
	seen := map[string]string{}
	for _, root := range roots {
		for _, b := range root.blocks("notify") {
			n := Notify{Name: b.Labels[0], Format: "slack", After: DefaultNotifyAfter}
			line := b.TypeRange.Start.Line
			s := l.section(root.src, b.Body, "notify", "notify "+scrub(n.Name), line)
			s.problem = &n.Problem
			if err := checkName(n.Name); err != nil {
				s.at(line, "notify: "+err.Error(), "")
			}
			if first, ok := seen[n.Name]; ok {
				s.at(line, fmt.Sprintf("notify %s stands in %s already", scrub(n.Name), first), "")
			}
			seen[n.Name] = fmt.Sprintf("%s:%d", root.src.path, line)
			s.one(&n)
			c.Notify = append(c.Notify, n)
		}
	}
}

func (s *section) one(n *Notify) {
	s.secret("webhook", &n.Webhook)
	if !n.Webhook.IsZero() {
		if u, err := url.Parse(n.Webhook.Reveal()); err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
			s.bad("webhook", "webhook is no address that begins with https://")
		} else if u.Scheme == "http" && !isLoopback(u.Hostname()) {
			s.at(s.lineOf("webhook"), s.title+": webhook leaves this machine (loopback) without TLS", "use https://")
		}
	}
	s.oneOf("format", &n.Format, "slack", "json")
	words, ok := s.texts("exec", func(t string) error {
		if t == "" || strings.ContainsFunc(t, isControl) {
			return errors.New("an argument is empty or holds a control character")
		}
		return nil
	})
	n.Exec = words
	switch {
	case s.has("webhook") == s.has("exec"):
		s.at(s.line, s.title+" needs either webhook or exec", `write webhook = env("SLACK_URL"), or exec = ["/usr/local/bin/page"]`)
	case ok && len(words) == 0:
		s.bad("exec", `exec is empty; write ["program", "argument"]`)
	case s.has("exec") && s.has("format"):
		s.bad("format", "format belongs to webhook; exec gets JSON")
	}
	kinds, ok := s.list("on", func(t string) error {
		if !slices.Contains(notify.Kinds(), t) {
			hint := didYouMean(t, notify.Kinds())
			return fmt.Errorf("there is no kind %q; %s", t, hint)
		}
		return nil
	})
	if n.On = kinds; ok && len(kinds) == 0 {
		s.bad("on", "on is empty; leave it out for all kinds")
	}
	s.duration("after", &n.After, 0)
}
