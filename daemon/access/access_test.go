package access

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const owner = "0123456789abcdef0123456789abcdef"

// annsHash is of "her password", at the least cost that is taken.
const annsHash = "$2a$10$Es1cvhDJrpj7J6bhTRAY5upnVwoN9s0xH89GU7kDu9V6J3Q/dKAle"

func open(t *testing.T, dir string, users ...User) *Keys {
	t.Helper()
	k, err := Open(dir, owner, users)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t *testing.T, dir, name string, role Role) string {
	t.Helper()
	secret, err := Create(dir, name, role, false)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestWhoComesIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := open(t, dir, User{Name: "ann", Role: RoleReader, PasswordHash: annsHash}, User{Name: "cert", Role: RoleControl, Certificate: "ann"})
	w1, w2 := create(t, dir, "w1", RoleWorker), create(t, dir, "w2", RoleWorker)
	for _, c := range []struct {
		name, password string
		want           Identity
	}{
		{"w1", w1, Identity{RoleWorker, "w1"}},
		{"w2", w2, Identity{RoleWorker, "w2"}},
		{"hubpipe", owner, Identity{RoleControl, ""}},
		{"ann", "her password", Identity{RoleReader, "ann"}},
		{"ann", "her password", Identity{RoleReader, "ann"}}, // from memory
		{"ann", "her passwords", Identity{}},
		{"ann", "", Identity{}},
		{"ann", annsHash, Identity{}},
		{"ann", owner, Identity{}},
		{"ann", strings.Repeat("x", 73), Identity{}},
		{"cert", "", Identity{}},
		{"w1", w2, Identity{}},
		{"w1", "", Identity{}},
		{"", w1, Identity{}},
		{"hubpipe", w1, Identity{}},
		{"w1", owner, Identity{}},
		{"hubpipe", "", Identity{}},
		{"nobody", "x", Identity{}},
	} {
		g, ok := k.Login(c.name, c.password)
		if ok != (c.want != Identity{}) || ok && (g.Identity != c.want || !g.Valid()) {
			t.Errorf("%q with %.12q: %v %t", c.name, c.password, g.Identity, ok)
		}
	}
	for secret, want := range map[string]Identity{w1: {RoleWorker, "w1"}, owner: {RoleControl, ""}, "": {}, w1[1:]: {}, strings.ToUpper(w1): {}, "her password": {}} {
		if g, ok := k.Bearer(secret); ok != (want != Identity{}) || ok && g.Identity != want {
			t.Errorf("bearer %.12q: %v %t", secret, g.Identity, ok)
		}
	}
	leaf := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	}
	if g, ok := k.Certificate(leaf("ann")); !ok || g.Identity != (Identity{RoleControl, "cert"}) || !g.Valid() {
		t.Errorf("a certificate: %v %t", g.Identity, ok)
	}
	for _, name := range []string{"", "Ann", "cert", "hubpipe"} {
		if _, ok := k.Certificate(leaf(name)); ok {
			t.Errorf("a certificate of %q lets in", name)
		}
	}
}

// Each grant ends with what it rests on, and with nothing else.
func TestGrantsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ann, cert := User{Name: "ann", Role: RoleReader, PasswordHash: annsHash}, User{Name: "c", Role: RoleWorker, Certificate: "c1"}
	k := open(t, dir, ann, cert)
	w1, w2 := create(t, dir, "w1", RoleWorker), create(t, dir, "w2", RoleWorker)
	grant := func(g Grant, ok bool) Grant {
		t.Helper()
		if !ok {
			t.Fatal("not let in")
		}
		return g
	}
	first, second, own := grant(k.Bearer(w1)), grant(k.Login("w2", w2)), grant(k.Bearer(owner))
	byPassword, byCertificate := grant(k.Login("ann", "her password")), grant(k.Certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "c1"}, NotAfter: time.Now().Add(time.Hour)}))
	late := grant(k.Certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "c1"}, NotAfter: time.Now().Add(-time.Second)}))
	state := func() string {
		var b strings.Builder
		for _, g := range []Grant{first, second, own, byPassword, byCertificate, late} {
			fmt.Fprint(&b, map[bool]int{true: 1}[g.Valid()])
		}
		return b.String()
	}
	changed := func() bool {
		t.Helper()
		c, err := k.Changed()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if got := state(); got != "111110" || !changed() || changed() {
		t.Fatalf("at first: %s", got)
	}
	if _, err := Create(dir, "w2", RoleWorker, true); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "101110" || !changed() || changed() {
		t.Errorf("after one was replaced: %s", got)
	}
	if err := Revoke(dir, "w1"); err != nil {
		t.Fatal(err)
	}
	ann.Role = RoleControl
	k.SetUsers([]User{ann})
	if got := state(); got != "001000" || !changed() || changed() {
		t.Errorf("after a revocation and a change of users: %s", got)
	}
	if _, ok := k.Bearer(w1); ok {
		t.Error("a token that was revoked lets in")
	}
	// A file that is damaged lets nobody in, and nothing overwrites it.
	third := create(t, dir, "w3", RoleWorker)
	path := filepath.Join(dir, tokensFile)
	if err := os.WriteFile(path, []byte(`{"tokens":[{"name":"w3","role":"worker"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Bearer(third); ok {
		t.Error("a damaged file lets in")
	}
	if c, err := k.Changed(); !c || err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %t %v", c, err)
	}
	if _, err := Create(dir, "w4", RoleWorker, false); err == nil {
		t.Error("a damaged file was written over")
	}
	if _, err := Open(dir, owner, nil); err == nil {
		t.Error("a daemon starts with a damaged file")
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var wg sync.WaitGroup
	secrets := make([]string, 20)
	for i := range secrets {
		wg.Go(func() {
			var err error
			if secrets[i], err = Create(dir, fmt.Sprintf("w%02d", i), RoleWorker, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := List(dir)
	if err != nil || len(all) != len(secrets) || all[3].Name != "w03" || all[3].Role != RoleWorker || all[3].Created.IsZero() {
		t.Fatalf("%d tokens: %v %v", len(all), all, err)
	}
	path := filepath.Join(dir, tokensFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if len(s) != len(mark)+64 || bytes.Contains(b, []byte(s[len(mark):])) {
			t.Fatalf("the file holds a token, or it is short: %d", len(s))
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if _, err := Create(dir, "w03", RoleReader, false); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if err := Revoke(dir, "nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoke of none: %v", err)
	}
	for _, name := range []string{"", "A", "a/b", "+", "hubpipe", "hubpipe-worker-w1", "hubpipe-daemon", strings.Repeat("x", 65)} {
		if _, err := Create(dir, name, RoleWorker, false); err == nil {
			t.Errorf("a token for %q was made", name)
		}
	}
	if _, err := Create(dir, "x", "admin", false); err == nil {
		t.Error("a role that there is not was taken")
	}
}

func TestHashes(t *testing.T) {
	t.Parallel()
	hash, err := HashPassword("her password")
	if err != nil || CheckHash(hash) != nil {
		t.Fatalf("%q %v", hash, err)
	}
	k := open(t, t.TempDir(), User{Name: "ann", Role: RoleReader, PasswordHash: hash})
	if _, ok := k.Login("ann", "her password"); !ok {
		t.Error("the hash does not take its password")
	}
	for _, bad := range []string{"", "her password", "$2a$04$i6TXvRhRIzgvA8L3kDvqGuzSLwMyXSOef79R/CEaVK6OaWxWZA1.S",
		"$2a$31" + hash[6:], hash[:59], hash + "x", strings.Repeat("a", 64)} {
		if CheckHash(bad) == nil {
			t.Errorf("%q was taken for a hash", bad)
		}
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 73)} {
		if _, err := HashPassword(bad); err == nil {
			t.Errorf("%q was hashed", bad)
		}
	}
}

// Whatever the file holds: no panic, and what is taken is written again as it
// was.
func FuzzTokens(f *testing.F) {
	f.Add([]byte(`{"tokens":[{"name":"w1","role":"worker","created":"2026-01-02T03:04:05Z","digest":"` + strings.Repeat("ab", 32) + `"}]}`))
	f.Add([]byte(`{"tokens":[{}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseTokens(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]any{"tokens": all})
		if err != nil {
			t.Fatal(err)
		}
		if more, err := parseTokens(again); err != nil || len(more) != len(all) {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
