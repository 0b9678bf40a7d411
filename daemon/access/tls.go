package access

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// TLS is how a listener shows who it is, and whose client certificates it
// takes. Files that were replaced are read by LoadTLS into another one, which
// TakeOver puts in its place; connections that there are go on.
type TLS struct {
	now atomic.Pointer[tlsState]
}

type tlsState struct {
	leaf    *x509.Certificate
	config  *tls.Config
	clients *x509.CertPool // nil where no client certificate is taken
}

// LoadTLS reads a certificate with its key, and the authority of the clients'
// certificates unless ca is empty; all are PEM files. No error holds their
// content.
func LoadTLS(certificate, key, ca string) (*TLS, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s with the key %s: %w", certificate, key, err)
	}
	s := &tlsState{leaf: pair.Leaf, config: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1", "mqtt"}}}
	if ca != "" {
		if s.clients, err = Pool(ca); err != nil {
			return nil, err
		}
		// A password does as well, so that nobody has to show a certificate; one
		// that is shown has to be right.
		s.config.ClientCAs, s.config.ClientAuth = s.clients, tls.VerifyClientCertIfGiven
	}
	t := &TLS{}
	t.now.Store(s)
	return t, nil
}

// TakeOver has the listener show and trust from now on what next does.
func (t *TLS) TakeOver(next *TLS) { t.now.Store(next.now.Load()) }

// Same tells whether the other one shows the same certificate and trusts the
// same authority.
func (t *TLS) Same(other *TLS) bool {
	a, b := t.now.Load(), other.now.Load()
	return a.clients.Equal(b.clients) &&
		slices.EqualFunc(a.config.Certificates[0].Certificate, b.config.Certificates[0].Certificate, bytes.Equal)
}

// Pool reads the certificates of a PEM file.
func Pool(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the file %s holds no certificate", file)
	}
	return pool, nil
}

// Config is for the listener, and is good for all of its life.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.now.Load().config, nil }}
}

// Names tells whether the certificate is of that host.
func (t *TLS) Names(host string) bool { return t.now.Load().leaf.VerifyHostname(host) == nil }

// Ends is when the certificate does.
func (t *TLS) Ends() time.Time { return t.now.Load().leaf.NotAfter }

// Trusts tells whether a client's certificate, followed by what leads to its
// authority, is one that is taken now.
func (t *TLS) Trusts(chain []*x509.Certificate) bool {
	s := t.now.Load()
	if s.clients == nil || len(chain) == 0 {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.clients, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// ClientTLS is for a connection of ours: the authority of the other side's
// certificate, empty for the system's, and our own certificate, empty for
// none. Our own is read at each connection, so that one that was replaced
// needs no restart.
func ClientTLS(ca, certificate, key string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pool, err := Pool(ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if (certificate == "") != (key == "") {
		return nil, errors.New("a certificate and its key belong together")
	}
	if certificate == "" {
		return c, nil
	}
	read := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("read the certificate %s with the key %s: %w", certificate, key, err)
		}
		return &pair, nil
	}
	if _, err := read(); err != nil {
		return nil, err
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return read() }
	return c, nil
}
