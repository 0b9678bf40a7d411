package config

import (
	"fmt"

	"github.com/hubpipe/hubpipe/daemon/access"
)

// User is somebody, or something, that may come in beside the owner of the
// token. It has a PasswordHash, a Certificate, or both: then either lets in.
type User struct {
	Name string
	// Role is worker, control or reader.
	Role string
	// PasswordHash is bcrypt's. It is no password, but not for everyone's eyes.
	PasswordHash Secret
	// Certificate is the common name of the client certificate, "" for none.
	Certificate string
}

// users reads the user blocks.
func (l *loader) users(roots []*section, c *Config) {
	seen := map[string]string{}
	for _, root := range roots {
		for _, b := range root.blocks("user") {
			u := User{Name: b.Labels[0]}
			line := b.TypeRange.Start.Line
			s := l.section(root.src, b.Body, "user", "user "+scrub(u.Name), line)
			if !access.ValidName(u.Name) {
				s.at(line, fmt.Sprintf("user: name %q has to be 1 to 64 of a-z, 0-9, _ and -, and not begin with %s", scrub(u.Name), access.Owner), "")
			}
			if first, ok := seen[u.Name]; ok {
				s.at(line, fmt.Sprintf("user %s stands in %s already", scrub(u.Name), first), "")
			}
			seen[u.Name] = fmt.Sprintf("%s:%d", root.src.path, line)
			s.needs("role")
			s.oneOf("role", &u.Role, string(access.RoleWorker), string(access.RoleControl), string(access.RoleReader))
			s.passwordHash(&u.PasswordHash)
			l.certificateOf(s, &u, c)
			if !s.has("password_hash") && !s.has("certificate") {
				s.at(line, s.title+" has neither a password_hash nor a certificate", "`hubpipe token hash` makes a hash of a password")
			}
			c.Users = append(c.Users, u)
		}
	}
}

// certificateOf reads whose certificate lets the user in. Certificates count
// only where a listener knows who signs them.
func (l *loader) certificateOf(s *section, u *User, c *Config) {
	name, ok := s.text("certificate")
	if !ok {
		return
	}
	u.Certificate = name
	for _, other := range c.Users {
		if other.Certificate == name {
			s.bad("certificate", "certificate %q is that of user %s already", scrub(name), scrub(other.Name))
		}
	}
	if takes := func(t *TLS) bool { return t != nil && t.CA != "" }; !takes(c.HTTP.TLS) && (c.Broker.URL != "" || !takes(c.Broker.TLS)) {
		l.report(Warning, s.src, s.lineOf("certificate"), s.title+": no listener takes client certificates", "set ca in the tls block of http or broker")
	}
}

func (s *section) passwordHash(into *Secret) {
	text, ok := s.text("password_hash")
	if !ok {
		return
	}
	if err := access.CheckHash(text); err != nil {
		s.bad("password_hash", "password_hash: %s", err)
		return
	}
	*into = NewSecret(text)
}
