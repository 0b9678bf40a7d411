package access

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make("ca", &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// make writes name.crt and name.key.
func (a *authority) make(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for ending, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.file(name+ending), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return made, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) client(name, common string) {
	a.t.Helper()
	a.make(name, &x509.Certificate{Subject: pkix.Name{CommonName: common}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// shake connects a client to a listener and gives what each saw of the other:
// the listener the chain of the client, the client an error.
func shake(t *testing.T, server, client *tls.Config) (chain []*x509.Certificate, clientErr, serverErr error) {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	s := tls.Server(ours, server)
	done := make(chan error, 1)
	go func() {
		err := s.HandshakeContext(t.Context())
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		if err != nil {
			_ = ours.Close()
		}
		done <- err
	}()
	c := tls.Client(theirs, client)
	clientErr = c.HandshakeContext(t.Context())
	if clientErr == nil {
		_, clientErr = c.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes after the handshake
	}
	if clientErr != nil {
		_ = theirs.Close()
	}
	serverErr = <-done
	if chains := s.ConnectionState().VerifiedChains; serverErr == nil && len(chains) > 0 {
		chain = chains[0]
	}
	return chain, clientErr, serverErr
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, strangers := newAuthority(t), newAuthority(t)
	serve := func(serial string) {
		a.make(serial, &x509.Certificate{Subject: pkix.Name{CommonName: serial}, DNSNames: []string{"hubpipe.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)}})
	}
	serve("first")
	a.client("ann", "Ann")
	strangers.client("ann", "Ann")
	a.make("server", &x509.Certificate{Subject: pkix.Name{CommonName: "Ann"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.make("ended", &x509.Certificate{Subject: pkix.Name{CommonName: "Ann"}, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	l, err := LoadTLS(a.file("first.crt"), a.file("first.key"), a.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	client := func(x *authority, name string) *tls.Config {
		t.Helper()
		certificate, key := "", ""
		if name != "" {
			certificate, key = x.file(name+".crt"), x.file(name+".key")
		}
		c, err := ClientTLS(a.file("ca.crt"), certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		c.ServerName = "hubpipe.example"
		return c
	}
	config := l.Config()
	chain, _, err := shake(t, config, client(a, "ann"))
	if err != nil || len(chain) != 2 || chain[0].Subject.CommonName != "Ann" || !l.Trusts(chain) {
		t.Fatalf("a good client: %v %v", chain, err)
	}
	if none, clientErr, err := shake(t, config, client(a, "")); err != nil || clientErr != nil || none != nil {
		t.Errorf("a client without a certificate: %v %v %v", none, clientErr, err)
	}
	for _, x := range []struct {
		of   *authority
		name string
	}{{strangers, "ann"}, {a, "server"}, {a, "ended"}} {
		if chain, _, err := shake(t, config, client(x.of, x.name)); err == nil {
			t.Errorf("%s is taken: %v", x.name, chain)
		}
	}
	old := client(a, "")
	old.MaxVersion, old.MinVersion = tls.VersionTLS11, tls.VersionTLS10
	if _, _, err := shake(t, config, old); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	if !l.Names("hubpipe.example") || !l.Names("192.0.2.7") || l.Names("evil.example") || l.Names("") {
		t.Error("the names of the certificate")
	}
	// What is taken over is of the same listener; what is bad cannot be read.
	serve("second")
	for _, bad := range [][3]string{{"first.crt", "second.key", "ca.crt"}, {"none.crt", "second.key", "ca.crt"}, {"second.crt", "second.key", "second.key"}} {
		if _, err := LoadTLS(a.file(bad[0]), a.file(bad[1]), a.file(bad[2])); err == nil {
			t.Errorf("%v were taken", bad)
		}
	}
	load := func(certificate, key, ca string) *TLS {
		t.Helper()
		next, err := LoadTLS(certificate, key, ca)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	next := load(a.file("second.crt"), a.file("second.key"), strangers.file("ca.crt"))
	if !l.Trusts(chain) {
		t.Error("what was only read has changed something")
	}
	if !l.Same(load(a.file("first.crt"), a.file("first.key"), a.file("ca.crt"))) || l.Same(next) ||
		l.Same(load(a.file("first.crt"), a.file("first.key"), "")) || l.Same(load(a.file("second.crt"), a.file("second.key"), a.file("ca.crt"))) {
		t.Error("what is the same, and what is another")
	}
	l.TakeOver(next)
	if l.Trusts(chain) {
		t.Error("the old authority is trusted after a reload")
	}
	if _, _, err := shake(t, config, client(a, "ann")); err == nil {
		t.Error("a client of the old authority comes in")
	}
	if chain, clientErr, err := shake(t, config, client(strangers, "ann")); err != nil || clientErr != nil || !l.Trusts(chain) {
		t.Errorf("a client of the new authority: %v %v", clientErr, err)
	}
	if l.TakeOver(load(a.file("second.crt"), a.file("second.key"), "")); l.Trusts(chain) {
		t.Error("without an authority a certificate is trusted")
	}
	for _, bad := range [][3]string{{"", "ann.crt", ""}, {"", "", "ann.key"}, {"none", "", ""}, {"ann.key", "", ""}, {"", "ann.crt", "first.key"}} {
		for i := range bad {
			if bad[i] != "" {
				bad[i] = a.file(bad[i])
			}
		}
		if _, err := ClientTLS(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q were taken", bad)
		}
	}
}
