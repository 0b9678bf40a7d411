//go:build gcs || azure

package files_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/files"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// What stands for Google's and Microsoft's stores: programs that people who
// develop with those have, too.
const (
	fakeGCS = "fake-gcs-server" // go install github.com/fsouza/fake-gcs-server@latest
	azurite = "azurite-blob"    // npm install -g azurite

	// Azurite's account and key are the same everywhere, and no secret.
	account = "devstoreaccount1"
	key     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==" //nolint:gosec // see above
)

// cloud is an object store as a reader has it.
type cloud struct {
	t  testing.TB
	at string
	b  *blob.Bucket
}

func (c *cloud) url() string { return c.at }

func (c *cloud) read(key string) []byte {
	c.t.Helper()
	b, err := c.b.ReadAll(c.t.Context(), "crm/eu/"+key)
	if err != nil {
		c.t.Fatal(key, err)
	}
	return b
}

func (c *cloud) keys(prefix string) (out []string) {
	c.t.Helper()
	for it := c.b.List(&blob.ListOptions{Prefix: "crm/eu/" + prefix}); ; {
		o, err := it.Next(c.t.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			c.t.Fatal(err)
		}
		out = append(out, strings.TrimPrefix(o.Key, "crm/eu/"))
	}
}

// emulator runs a program that listens on an address, until the test ends.
func emulator(t *testing.T, program string, args func(host, port, dir string) []string) (addr string) {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("HUBPIPE_TEST_REQUIRE") == "all" {
			t.Fatal(err)
		}
		t.Skip(program + " is not there")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var log bytes.Buffer
	cmd := exec.Command(bin, args(host, port, dir)...) //nolint:gosec // the test's own, which ends it below
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was ended
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for end := time.Now().Add(2 * time.Minute); ; {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = c.Close()
			return addr
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// ask sends a request and wants it done.
func ask(t *testing.T, method, url, body string, header map[string]string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s %v", method, url, resp.Status, text, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// google is a bucket of what stands for Google's store.
func google(t *testing.T) *cloud {
	t.Helper()
	addr := emulator(t, fakeGCS, func(host, port, _ string) []string {
		return []string{"-scheme", "http", "-host", host, "-port", port, "-backend", "memory", "-public-host", host + ":" + port, "-external-url", "http://" + host + ":" + port, "-log-level", "error"}
	})
	t.Setenv("STORAGE_EMULATOR_HOST", addr)
	ask(t, http.MethodPost, "http://"+addr+"/storage/v1/b?project=x", `{"name":"lake"}`, map[string]string{"Content-Type": "application/json"})
	return opened(t, "gs://lake", "?anonymous=true")
}

// microsoft is a container of what stands for Microsoft's.
func microsoft(t *testing.T) *cloud {
	t.Helper()
	addr := emulator(t, azurite, func(host, port, dir string) []string {
		return []string{"--blobHost", host, "--blobPort", port, "--location", dir, "--silent", "--skipApiVersionCheck", "--disableTelemetry"}
	})
	t.Setenv("AZURE_STORAGE_ACCOUNT", account)
	t.Setenv("AZURE_STORAGE_KEY", key)
	date, version := time.Now().UTC().Format(http.TimeFormat), "2021-08-06"
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:%s\nx-ms-version:%s\n/%s/%s/lake\nrestype:container", date, version, account, account)
	ask(t, http.MethodPut, "http://"+addr+"/"+account+"/lake?restype=container", "", map[string]string{"x-ms-date": date, "x-ms-version": version,
		"Authorization": "SharedKey " + account + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))})
	return opened(t, "azblob://lake", "?"+url.Values{"protocol": {"http"}, "domain": {addr}, "localemu": {"true"}}.Encode())
}

func opened(t *testing.T, bucket, query string) *cloud {
	t.Helper()
	b, err := blob.OpenBucket(t.Context(), bucket+query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return &cloud{t: t, at: bucket + "/crm/eu" + query, b: b}
}

// Google's and Microsoft's stores, as far as there are programs that stand for
// them: rows, changes, files of several parts, snapshots, two writers, and what is
// taken away again.
func TestClouds(t *testing.T) { //nolint:paralleltest // the libraries read the environment
	for name, open := range map[string]func(*testing.T) *cloud{"gs": google, "azblob": microsoft} {
		t.Run(name, func(t *testing.T) {
			at := open(t)
			r := newRig(t, at, files.Options{Keep: time.Millisecond, FileSize: 1 << 20})
			r.Put("contacts", fill(3000, "a")...)
			r.Put("contacts", record("large", `{"note":"`+strings.Repeat("x", 12<<20)+`"}`))
			r.Start()
			r.Current()
			r.same("contacts")
			r.Equal()
			for _, f := range r.manifest("contacts").Files {
				if !strings.HasPrefix(f.URL, strings.Split(at.at, "?")[0]+"/contacts/day=") {
					t.Errorf("readers are sent to %s", f.URL)
				}
			}
			r.Put("contacts", fill(500, "b")...)
			r.Put("contacts", ended("1003", stream.Purged))
			r.Current()
			r.same("contacts")
			if err := r.M.Resync("lake", ""); err != nil {
				t.Fatal(err)
			}
			r.Eventually("a snapshot", func() bool { return r.manifest("contacts").Snapshots > 0 })
			r.Until(func(s destination.Status) bool { return s.State == destination.Current })
			r.once("contacts")
			r.same("contacts")
			r.Eventually("files that go", func() bool { return len(r.at.keys("contacts/day=")) == len(r.manifest("contacts").Files) })
			r.Stop()

			// Of two writers one is refused.
			d, late := r.session(), r.session()
			r.Put("contacts", record("one", `{"email":"a"}`))
			d.write(false)
			if err := late.take(late.place.Position, false); err != nil {
				t.Fatal(err)
			}
			_, err := late.s.Flush(t.Context(), "contacts")
			if p, ok := errors.AsType[*stream.Problem](err); !ok || p.Type != "destination-foreign" {
				t.Errorf("both write: %v", err)
			}
			r.same("contacts")

			// A bucket that is not there is said to be that.
			r.o.URL = strings.Replace(r.o.URL, "://lake", "://nowhere", 1)
			r.Path = filepath.Join(t.TempDir(), "destinations.json")
			r.Start()
			s := r.Until(func(s destination.Status) bool { return s.Error != nil })
			if s.Error.Type != "destination-refused" || !strings.Contains(s.Error.Hint, "nowhere") {
				t.Errorf("it says %+v", s.Error)
			}
			r.Stop()
		})
	}
}
