package api_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A thousand and a half of silent, slow and idle connections neither keep a
// good client out nor cost much.
func TestCrowd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := used()
	for i := range 1500 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		switch i % 3 {
		case 0: // silent
		case 1:
			_, _ = io.WriteString(conn, "GET /v1/streams HTTP/1.1\r\nHost: localhost\r\nX: ") // slow
		case 2:
			_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") // idle
		}
		if i%100 == 99 {
			began := time.Now()
			if _, err := b.c.Streams(t.Context()); err != nil {
				t.Fatalf("beside %d others: %v", i, err)
			}
			b.c.Close() // the next one is a newcomer again
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("beside %d others it takes %s", i, took)
			}
		}
	}
	if grown := int64(used()) - int64(before); grown > 64<<20 {
		t.Errorf("memory grew by %d MB", grown>>20)
	}
}

func used() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// Who is refused is not kept; who may come in is.
func TestStrangersDoNotStay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for auth, stays := range map[string]bool{"": false, "Authorization: Bearer wrong\r\n": false, "Authorization: Bearer workers\r\n": false,
		"Authorization: Bearer " + token + "\r\n": true} {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.server.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		in := bufio.NewReader(conn)
		again := 0
		for range 2 {
			_, _ = io.WriteString(conn, "GET /v1/streams HTTP/1.1\r\nHost: localhost\r\n"+auth+"\r\n")
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			again++
		}
		if (again == 2) != stays {
			t.Errorf("%q: %d answers on one connection", strings.TrimSpace(auth), again)
		}
	}
}

// A body that comes slowly, or is larger than any, ends; so does a header.
func TestSlowAndLarge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	head := "POST /v1/streams/contacts/start HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n"
	for name, text := range map[string]string{
		"a body that does not come":  head + "Content-Length: 20\r\n\r\n{",
		"a header that does not end": head,
		"a body that is too large":   head + "Content-Length: 1000000\r\n\r\n" + strings.Repeat(" ", 100<<10),
		"chunks without an end":      head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
		"a line that does not end":   "GET /" + strings.Repeat("x", 60<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.server.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(40 * time.Second)) // the bounds are 5 and 10 s
			_, _ = io.WriteString(conn, text)
			answer, err := io.ReadAll(conn)
			var timeout net.Error
			if e, ok := err.(net.Error); ok { //nolint:errorlint // of the connection itself
				timeout = e
			}
			if timeout != nil && timeout.Timeout() {
				t.Errorf("the connection stays open: %q", answer)
			}
			if strings.HasPrefix(string(answer), "HTTP/1.1 2") {
				t.Errorf("it is taken: %q", answer)
			}
		})
	}
	if calls := b.d.called(); len(calls) > 0 {
		t.Errorf("something was done: %q", calls)
	}
}
