package files_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/hubpipe/hubpipe/daemon/destination/files"
)

// bucket is a server that speaks as S3 does, with one bucket, and with faults on
// demand.
type bucket struct {
	t      testing.TB
	s      *httptest.Server
	be     *s3mem.Backend
	prefix string

	mu sync.Mutex
	// fault answers a request in place of the server, or spoils its answer; nil for
	// neither.
	fault func(*http.Request) *fault
}

// fault is what becomes of a request.
type fault struct {
	before func() // what happens while it is on its way; then it is served
	done   bool   // after the server has done it
	status int    // 0 cuts the connection
	code   string
}

func s3(t testing.TB) *bucket {
	t.Helper()
	b := &bucket{t: t, be: s3mem.New(), prefix: "crm/eu/"}
	if err := b.be.CreateBucket("lake"); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(b.be).Server()
	b.s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		var f *fault
		if b.fault != nil {
			f = b.fault(r)
		}
		b.mu.Unlock()
		if f != nil && f.before != nil {
			f.before()
			f = nil
		}
		if f == nil {
			inner.ServeHTTP(w, r)
			return
		}
		if f.done {
			inner.ServeHTTP(httptest.NewRecorder(), r)
		}
		if f.status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(f.status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>m</Message></Error>", f.code)
	}))
	t.Cleanup(b.s.Close)
	return b
}

// fails sets what becomes of requests from now on.
func (b *bucket) fails(f func(*http.Request) *fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = f
}

func (b *bucket) url() string {
	return "s3://lake/" + b.prefix + "?region=us-east-1&use_path_style=true&endpoint=" + b.s.URL
}

func (b *bucket) read(key string) []byte {
	b.t.Helper()
	o, err := b.be.GetObject("lake", b.prefix+key, nil)
	if err != nil {
		b.t.Fatal(key, err)
	}
	defer o.Contents.Close()
	all, err := io.ReadAll(o.Contents)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *bucket) keys(prefix string) (out []string) {
	b.t.Helper()
	p := gofakes3.Prefix{HasPrefix: true, Prefix: b.prefix + prefix}
	list, err := b.be.ListBucket("lake", &p, gofakes3.ListBucketPage{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, o := range list.Contents {
		out = append(out, strings.TrimPrefix(o.Key, b.prefix))
	}
	return out
}

// A file that is larger than what is sent at once arrives whole.
func TestLargeUpload(t *testing.T) {
	t.Parallel()
	at := s3(t)
	r := newRig(t, at, files.Options{AccessKey: "k", SecretKey: "s"})
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 150 {
		b := make([]byte, 0, 100_000)
		for len(b) < cap(b)-16 {
			b = fmt.Appendf(b, "%016x", rng.Uint64())
		}
		r.Put("contacts", record(fmt.Sprint(i), `{"note":"`+string(b)+`"}`))
	}
	r.Start()
	r.Current()
	for _, f := range r.manifest("contacts").Files { // one, where the machine is not very slow
		if int(f.Bytes) != len(at.read(f.Path)) {
			t.Errorf("%+v has %d bytes", f, len(at.read(f.Path)))
		}
	}
	r.same("contacts")
	r.Equal()
}
