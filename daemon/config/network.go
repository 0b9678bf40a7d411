package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/hubpipe/hubpipe/daemon/access"
)

func (l *loader) http(root *section) HTTP {
	h := HTTP{Listen: DefaultHTTPListen}
	if s := root.child("http"); s != nil {
		h.TLS = s.tls(true)
		s.listen(&h.Listen, h.TLS != nil)
		if hosts, ok := s.list("hosts", checkHost); ok {
			h.Hosts = hosts
		}
	}
	return h
}

func checkHost(name string) error {
	if u, err := url.Parse("http://" + name); err != nil || u.Hostname() != name || u.Port() != "" {
		return fmt.Errorf("%q is no name of a host; write it without scheme and port", name)
	}
	return nil
}

// listen reads an address to listen on, which is of this machine alone unless
// there is TLS. Credentials are asked for everywhere; nothing switches them off.
func (s *section) listen(into *string, safe bool) {
	text, ok := s.text("listen")
	if !ok {
		return
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		s.bad("listen", "listen %q is no address; write it like %q", scrub(text), *into)
		return
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > math.MaxUint16 {
		s.bad("listen", "listen %q: the port has to be a number from 0 to 65535", scrub(text))
		return
	}
	if !safe && !isLoopback(host) {
		s.at(s.lineOf("listen"), fmt.Sprintf("%s: listen %q would leave this machine (loopback) without TLS, "+
			"and the token and the records could be read on the way", s.title, scrub(text)),
			fmt.Sprintf("add tls { certificate = …, key = … }, or listen on 127.0.0.1:%s behind a proxy that has TLS", port))
		return
	}
	*into = text
}

// tls reads the files of a listener, or of a connection of ours, and nil where
// there is no such block. Files that are no good are said here, not at the
// first connection.
func (s *section) tls(listens bool) *TLS {
	c := s.child("tls")
	if c == nil {
		return nil
	}
	t := &TLS{}
	for name, into := range map[string]*string{"certificate": &t.Certificate, "key": &t.Key, "ca": &t.CA} {
		if path, ok := c.text(name); ok {
			if !filepath.IsAbs(path) {
				path = filepath.Join(filepath.Dir(s.src.path), path)
			}
			*into = path
		}
	}
	if listens {
		c.needs("certificate", "key")
	}
	if l := s.loader; l.client || listens && (t.Certificate == "" || t.Key == "") {
		return t
	}
	if !listens {
		if _, err := access.ClientTLS(t.CA, t.Certificate, t.Key); err != nil {
			c.at(c.line, c.title+": "+scrub(err.Error()), "")
		}
		return t
	}
	loaded, err := access.LoadTLS(t.Certificate, t.Key, t.CA)
	if err != nil {
		c.at(c.line, c.title+": "+scrub(err.Error()), "")
		return t
	}
	if ends := loaded.Ends(); ends.Before(s.o.now()) {
		c.report(Warning, c.src, c.lineOf("certificate"), c.title+": the certificate ended on "+ends.UTC().Format("2006-01-02"),
			"replace the file, then reload the daemon; it needs no restart")
	}
	return t
}

// ports holds the two addresses against each other: both are bound at the same
// start.
func (l *loader) ports(root *section, c *Config) {
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	other, otherPort, otherErr := net.SplitHostPort(c.Broker.Listen)
	if err != nil || otherErr != nil || c.Broker.URL != "" || port != otherPort || port == "0" {
		return
	}
	if host != other && host != "localhost" && other != "localhost" {
		return
	}
	s := root.child("broker")
	if s == nil || !s.has("listen") {
		s = root.child("http")
	}
	s.bad("listen", "http and broker cannot both listen on port %s", port)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (s *section) brokerURL(b *Broker) {
	text, ok := s.text("url")
	if !ok {
		return
	}
	u, err := url.Parse(text)
	if err != nil {
		s.bad("url", "url is no address; write it like %q", "mqtts://broker.example:8883")
		return
	}
	tls := false
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "tls", "ssl":
		tls = true
	case "unix":
		b.URL = text
		return
	default:
		s.bad("url", "url has an unknown scheme; there are mqtt, mqtts and unix")
		return
	}
	switch {
	case u.User != nil:
		s.bad("url", "url holds credentials, and a URL is shown; set username and password instead")
	case u.Hostname() == "":
		s.bad("url", "url names no host; write it like %q", "mqtts://broker.example:8883")
	case !tls && !isLoopback(u.Hostname()):
		s.at(s.lineOf("url"), "broker: url leaves this machine (loopback) without TLS, "+
			"and the password and the records could be read on the way", "use mqtts://")
	case !tls && b.TLS != nil:
		s.at(s.lineOf("url"), "broker: there is a tls block, and url has no TLS", "use mqtts://")
	case !isLoopback(u.Hostname()) && !s.has("username") && (b.TLS == nil || b.TLS.Certificate == ""):
		s.at(s.lineOf("url"), "broker: url leaves this machine (loopback) without credentials",
			"set username and password, or tls { certificate = …, key = … }")
	default:
		b.URL = text
	}
}
