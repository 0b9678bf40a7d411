package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// reloading is a daemon with TLS on both listeners, whose files a test replaces.
type reloading struct {
	*Daemon

	t    *testing.T
	dir  string
	env  map[string]string
	read func() // what happens to the files once the configuration was found right
}

func newReloading(t *testing.T, text string) *reloading {
	t.Helper()
	dir, err := os.MkdirTemp("", "hp") //nolint:usetesting // TempDir's path is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	hash, err := access.HashPassword("a long password")
	if err != nil {
		t.Fatal(err)
	}
	r := &reloading{t: t, dir: dir, env: map[string]string{"TOKEN": "canary-token", "HASH": hash, "TOKEN_URL": "https://hooks.example/canary"}}
	r.certify("http", "first")
	r.certify("broker", "first")
	r.write(text)
	cfg, err := r.load()
	if err != nil {
		t.Fatal(err)
	}
	r.Daemon = New(Options{Config: cfg, Version: "test", Reload: r.load,
		Logger: hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "hubpipe", Level: hclog.Warn, Output: io.Discard})})
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *reloading) file(name string) string { return filepath.Join(r.dir, name) }

// write is the configuration, after what all of them have.
func (r *reloading) write(text string) {
	r.t.Helper()
	head := fmt.Sprintf("data_dir = %q\nportal \"main\" { token = env(\"TOKEN\") }\n", r.dir)
	for _, listener := range []string{"http", "broker"} {
		if !strings.Contains(text, listener+" {") {
			head += fmt.Sprintf("%s {\n listen = \"127.0.0.1:0\"\n tls {\n  certificate = \"%s.crt\"\n  key = \"%s.key\"\n }\n}\n", listener, listener, listener)
		}
	}
	if err := os.WriteFile(r.file("hubpipe.hcl"), []byte(head+text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reloading) load() (*config.Config, error) {
	cfg, diags, err := config.Load(config.Options{Path: r.file("hubpipe.hcl"), Env: func(name string) (string, bool) { return r.env[name], r.env[name] != "" }})
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, diags)
	}
	if r.read != nil {
		r.read()
	}
	return cfg, nil
}

// certify writes a certificate of that common name for a listener.
func (r *reloading) certify(listener, common string) {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: common}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		r.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		r.t.Fatal(err)
	}
	for ending, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(r.file(listener+ending), pem.EncodeToMemory(block), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// stands holds what the listeners show, and whether ann comes in.
func (r *reloading) stands(when, httpCommon, brokerCommon string, ann bool) {
	r.t.Helper()
	for _, x := range []struct{ what, addr, common string }{{"http", r.Addr(), httpCommon}, {"broker", r.BrokerAddr(), brokerCommon}} {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the test looks at what is shown
		conn, err := d.DialContext(r.t.Context(), "tcp", x.addr)
		if err != nil {
			r.t.Fatal(err)
		}
		if got := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName; got != x.common {
			r.t.Errorf("%s: %s shows the %s certificate", when, x.what, got)
		}
		_ = conn.Close()
	}
	if _, ok := r.keys.Login("ann", "a long password"); ok != ann {
		r.t.Errorf("%s: ann comes in: %t", when, ok)
	}
}

// refuses has a reload refused, with what is wrong.
func (r *reloading) refuses(why string) {
	r.t.Helper()
	if _, err := r.Reload(r.t.Context()); err == nil || !strings.Contains(err.Error(), why) {
		r.t.Errorf("a reload that is wrong for its %s: %v", why, err)
	}
}

// A reload that is refused has taken over nothing, neither users nor one
// certificate of two.
func TestARefusedReloadChangesNothing(t *testing.T) {
	t.Parallel()
	r := newReloading(t, `
stream "contacts" {}
user "ann" {
  role = "reader"
  password_hash = env("HASH")
}
`)
	r.stands("at first", "first", "first", true)

	r.write(`stream "contacts" {}`)
	r.certify("http", "second")
	r.read = func() {
		if err := os.WriteFile(r.file("broker.crt"), []byte("nothing"), 0o600); err != nil {
			t.Error(err)
		}
	}
	r.refuses("broker.crt")
	r.stands("the broker's certificate is bad", "first", "first", true)
	r.certify("broker", "second")
	if _, err := r.Plan(t.Context()); err == nil {
		t.Error("a plan does not say that the reload is refused")
	}

	r.read = nil
	r.certify("broker", "second")
	r.write(`stream "contacts" { object = "deals" }`)
	r.refuses("give the new one another name")
	r.stands("a stream is refused", "first", "first", true)

	r.write(`stream "contacts" {}`)
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.stands("all is right", "second", "second", false)
}

// A reload reads the configuration when the one before has taken effect: what was
// read last is what counts.
func TestNoReloadOvertakesAnother(t *testing.T) {
	t.Parallel()
	r := newReloading(t, `stream "contacts" {}`)
	r.read = func() {
		if r.reloading.TryLock() {
			r.reloading.Unlock()
			t.Error("another one could begin and end now")
		}
	}
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.read = nil
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A plan names what a reload takes over of users, of those that are told, of
// workers and of certificates, and what waits for a restart; once it was taken
// over only the latter is left.
func TestAPlanNamesWhatIsTakenOver(t *testing.T) {
	t.Parallel()
	r := newReloading(t, `
user "ann" {
  role = "reader"
  password_hash = env("HASH")
}
user "bob" {
  role = "reader"
  password_hash = env("HASH")
}
notify "ops" { exec = ["page", "canary-argument"] }
`)
	says := func(when string, settings, restart []string) {
		t.Helper()
		p, err := r.Plan(t.Context())
		if err != nil || !slices.Equal(p.Settings, settings) || !slices.Equal(p.Restart, restart) {
			t.Errorf("%s: %v\ntaken over: %q\nwaits: %q", when, err, p.Settings, p.Restart)
		}
		if p.Empty() != (len(settings)+len(restart) == 0) {
			t.Errorf("%s: empty is %t", when, p.Empty())
		}
	}
	says("nothing is otherwise", []string{}, []string{})
	r.certify("broker", "second")
	r.write(`
user "ann" {
  role = "control"
  password_hash = env("HASH")
}
user "eve" {
  role = "worker"
  password_hash = env("HASH")
}
notify "ops" {
  exec = ["page", "canary-other"]
  after = "1m"
}
notify "dev" { webhook = env("TOKEN_URL") }
worker { concurrency = 4 }
http {
  listen = "127.0.0.1:0"
  hosts = ["hubpipe.example"]
}
`)
	restart := []string{"http.hosts: [] → [hubpipe.example]", "http.tls: on → off"}
	says("much is", []string{
		"notify ops: exec is another", "notify ops: after: 10m → 1m", "notify dev: new",
		"user ann: role: reader → control", "user eve: new", "user bob: removed",
		"worker.concurrency: 8 → 4 (by `hubpipe up`; another worker takes it over when it is restarted)",
		"broker.tls: the certificate or its authority is another",
	}, restart)
	p, err := r.Reload(t.Context())
	if err != nil || len(p.Settings) != 8 {
		t.Fatalf("%v: %+v", err, p)
	}
	r.stands("after it", "first", "second", true)
	says("only a restart is left", []string{}, restart)
}
