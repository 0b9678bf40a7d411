package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

func newPortal(name string) Portal {
	return Portal{Name: name, BaseURL: DefaultBaseURL, DailyReserve: DefaultDailyReserve}
}

// portals reads the portal blocks and returns their names in order, also of
// those with mistakes, so that nobody is told that they do not exist.
func (l *loader) portals(roots []*section, c *Config) []string {
	var names []string
	seen := map[string]string{}
	for _, root := range roots {
		for _, b := range root.blocks("portal") {
			p := newPortal(b.Labels[0])
			line := b.TypeRange.Start.Line
			s := l.section(root.src, b.Body, "portal", "portal "+scrub(p.Name), line)
			s.problem = &p.Problem
			if err := checkName(p.Name); err != nil {
				s.at(line, "portal: "+err.Error(), "")
			}
			if first, ok := seen[p.Name]; ok {
				s.at(line, fmt.Sprintf("portal %s stands in %s already", scrub(p.Name), first), "")
				continue
			}
			seen[p.Name] = fmt.Sprintf("%s:%d", root.src.path, line)
			names = append(names, p.Name)
			s.portal(&p)
			c.Portals = append(c.Portals, p)
		}
	}
	return names
}

func (s *section) portal(p *Portal) {
	s.secret("token", &p.Token)
	oauth := s.child("oauth")
	switch {
	case s.has("token") && oauth != nil:
		s.at(oauth.line, s.title+" has a token and oauth; leave one of them out", "")
	case !s.has("token") && oauth == nil:
		s.at(s.line, s.title+" has neither a token nor oauth", `add token = env("`+TokenVariable+`")`)
	}
	if oauth != nil {
		p.OAuth = &OAuth{}
		oauth.needs("client_id", "client_secret", "refresh_token")
		if t, ok := oauth.text("client_id"); ok {
			p.OAuth.ClientID = t
		}
		oauth.secret("client_secret", &p.OAuth.ClientSecret)
		oauth.secret("refresh_token", &p.OAuth.RefreshToken)
	}
	if j := s.child("journal"); j != nil {
		p.Journal = &Journal{}
		j.needs("client_id", "client_secret")
		if t, ok := j.text("client_id"); ok {
			p.Journal.ClientID = t
		}
		j.secret("client_secret", &p.Journal.ClientSecret)
	}
	if w := s.child("webhook"); w != nil {
		p.Webhook = &Webhook{}
		w.needs("client_secret")
		w.secret("client_secret", &p.Webhook.ClientSecret)
	}
	s.baseURL(&p.BaseURL)
	if t, ok := s.text("api_version"); ok {
		if slices.Contains(catalogue.Versions(), t) {
			p.APIVersion = t
		} else {
			s.bad("api_version", "api_version %q is none that hubpipe speaks; there are %s", scrub(t), strings.Join(catalogue.Versions(), ", "))
		}
	}
	var reserve float64
	if parsed(s, "daily_reserve", "20%", ParsePercent, &reserve) {
		if reserve > 0.95 {
			s.bad("daily_reserve", "daily_reserve leaves hubpipe nothing; the most is 95%%")
		} else {
			p.DailyReserve = reserve
		}
	}
}

// needs notes settings that are missing.
func (s *section) needs(names ...string) {
	for _, name := range names {
		if !s.has(name) {
			s.at(s.line, fmt.Sprintf("%s has no %s", s.title, name), "")
		}
	}
}

func (s *section) baseURL(into *string) {
	text, ok := s.text("base_url")
	if !ok {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		s.bad("base_url", "base_url is no address; write it like %q", DefaultBaseURL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		s.bad("base_url", "base_url takes scheme, host and path, and nothing else")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		s.at(s.lineOf("base_url"), s.title+": base_url would send the token over the network without TLS", "use https://")
	default:
		*into = strings.TrimRight(text, "/")
	}
}
