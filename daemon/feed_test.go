package daemon

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// patience is far more than any of this takes.
const patience = 3 * time.Minute

// served is a daemon's API over sockets, with a store in which the test writes.
type served struct {
	t      *testing.T
	d      *Daemon
	events *events
	server *api.Server
	http   *http.Client
}

func serveFeed(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, d: restingDaemon(t, store.Options{}), http: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	_, s.events = worldEvents(t)
	// Who is slow, as all are on a machine that is, is waited for when it stops.
	s.server = api.New(api.Options{Listen: "127.0.0.1:0", Grace: patience, Control: apiControl{s.d}, Data: dataAdapter{Store: s.d.store, shown: &s.d.shown}, Health: s.d,
		Events: s.events, Epoch: "s/1", KeepAlive: 50 * time.Millisecond,
		Authenticate: func(api.Credentials) (api.Caller, bool) {
			return api.Caller{Role: api.RoleControl, Valid: func() bool { return true }}, true
		}})
	if err := s.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		s.http.CloseIdleConnections()
	})
	return s
}

func (s *served) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
	defer cancel()
	if err := s.server.Stop(ctx); err != nil {
		s.t.Errorf("stop: %v", err)
	}
}

// write commits so many records, from the one of that number on.
func (s *served) write(name string, from, n int) {
	s.t.Helper()
	tx, err := s.d.store.Begin()
	if err != nil {
		s.t.Error(err)
		return
	}
	for i := from; i < from+n && err == nil; i++ {
		err = tx.Put(name, &stream.Record{Head: stream.Head{ID: fmt.Sprint(i), State: stream.Live},
			Properties: fmt.Appendf(nil, `{"email":"%d@example.com","about":%q}`, i, strings.Repeat("word ", 300))})
	}
	if err != nil {
		tx.Discard()
		s.t.Error(err)
		return
	}
	if err := tx.Commit(); err != nil {
		s.t.Error(err)
	}
}

// places are those of the feed, in its order.
func (s *served) places(name string) (out []uint64) {
	s.t.Helper()
	if _, err := s.d.store.Changes(s.t.Context(), name, 0, 0, func(r *stream.Record) error {
		out = append(out, r.Seq)
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// manner is how somebody reads.
type manner struct {
	accept string
	packed bool
}

func (m manner) String() string { return fmt.Sprintf("%s, packed %t", m.accept, m.packed) }

const (
	lines  = "application/x-ndjson"
	frames = "text/event-stream"
)

// open asks for a feed that goes on.
func (s *served) open(ctx context.Context, path string, m manner) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.server.Addr()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer x")
	r.Header.Set("Accept", m.accept)
	if m.packed {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	res, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK || (res.Header.Get("Content-Encoding") == "gzip") != m.packed {
		return nil, errors.Join(fmt.Errorf("%s, packed as %q", res.Status, res.Header.Get("Content-Encoding")), res.Body.Close())
	}
	if !m.packed {
		return res.Body, nil
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, res.Body}, nil
}

// readPlaces takes what is whole, until enough says so or the answer ends, and
// gives the places. An end within a line, or of the connection alone, is an
// error.
func readPlaces(in io.Reader, m manner, enough func(seq uint64) bool) (out []uint64, err error) {
	b := bufio.NewReader(in)
	id := ""
	for {
		line, err := b.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF) && line == "" && id == "":
			return out, nil
		case err != nil:
			return out, fmt.Errorf("after %d, in %q: %w", len(out), line, err)
		}
		line = strings.TrimSuffix(line, "\n")
		if m.accept == frames {
			name, value, _ := strings.Cut(line, ": ")
			switch {
			case line == "": // the end of a frame
				id = ""
				continue
			case name == "id":
				id = value
				continue
			case name != "data":
				continue
			}
			line = value
		}
		var r client.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Seq == 0 || len(r.Properties) < 1000 || id != "" && id != fmt.Sprint(r.Seq) {
			return out, fmt.Errorf("after %d: %w: %q under %q", len(out), err, line, id)
		}
		if out = append(out, r.Seq); enough(r.Seq) {
			return out, nil
		}
	}
}

// manners are ten readers': every way to be sent it, each twice, and two who go
// again and again, and go on where they were.
func manners() []manner {
	var out []manner
	for _, accept := range []string{lines, frames} {
		for _, packed := range []bool{false, true} {
			m := manner{accept: accept, packed: packed}
			out = append(out, m, m)
		}
	}
	return append(out, manner{accept: lines}, manner{accept: frames})
}

// Ten readers who follow the feed while it is written see every place once, in
// order, and none is missing. One who stands still keeps nobody waiting, neither
// them nor the writer, and has missed nothing when it goes on.
func TestTenReadersFollowWhatIsWritten(t *testing.T) {
	t.Parallel()
	const batches, inOne = 120, 60 // 11 MB of lines: more than the sockets of the one who stands still hold
	s := serveFeed(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.write("contacts", 0, inOne)

	stalled, err := new(net.Dialer).DialContext(ctx, "tcp", s.server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	if err := stalled.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stalled, "GET /v1/streams/contacts/changes?follow=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}

	until := uint64(batches * inOne)
	got, errs := make([][]uint64, 10), make([]error, 10)
	var readers sync.WaitGroup
	for i, m := range manners() {
		readers.Go(func() {
			for errs[i] == nil && (len(got[i]) == 0 || got[i][len(got[i])-1] < until) {
				since, had := uint64(0), len(got[i])
				if had > 0 {
					since = got[i][had-1]
				}
				in, err := s.open(ctx, fmt.Sprintf("/v1/streams/contacts/changes?follow=true&since=%d", since), m)
				if err != nil {
					errs[i] = err
					return
				}
				n := 0
				more, err := readPlaces(in, m, func(seq uint64) bool {
					n++
					return seq >= until || i >= 8 && n == 700 // these go, and come again
				})
				_ = in.Close()
				got[i], errs[i] = append(got[i], more...), err
			}
		})
	}
	for i := 1; i < batches; i++ {
		s.write("contacts", i*inOne, inOne)
	}
	readers.Wait()
	want := s.places("contacts")
	if len(want) != batches*inOne || want[len(want)-1] != until {
		t.Fatalf("%d places were written", len(want))
	}
	for i, m := range manners() {
		if errs[i] != nil || !slices.Equal(got[i], want) {
			t.Errorf("reader %d (%s): %d of %d places, %v", i, m, len(got[i]), len(want), errs[i])
		}
	}

	// It takes up its reading: it is sent the rest, or was let go meanwhile, and
	// then goes on from its last whole line.
	_ = stalled.SetDeadline(time.Now().Add(patience))
	// Its body is not closed: that would read on to an end that there is not.
	res, err := http.ReadResponse(bufio.NewReader(stalled), nil)
	if err != nil {
		t.Fatal(err)
	}
	reached := func(seq uint64) bool { return seq >= until }
	late, err := readPlaces(res.Body, manner{accept: lines}, reached)
	if err != nil {
		in, err := s.open(ctx, fmt.Sprintf("/v1/streams/contacts/changes?follow=true&since=%d", late[len(late)-1]), manner{accept: lines})
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		rest, err := readPlaces(in, manner{accept: lines}, reached)
		if late = append(late, rest...); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(late, want) {
		t.Errorf("the one who stood still has %d of %d places", len(late), len(want))
	}
}

// What goes on ends with the daemon, and ends whole: at the end of a line or of a
// frame, without a gap before, and with the connection's own end.
func TestFollowersEndWhole(t *testing.T) {
	t.Parallel()
	s := serveFeed(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.write("contacts", 0, 500)
	want := s.places("contacts")

	writing, enough := sync.WaitGroup{}, make(chan struct{})
	writing.Go(func() { // until the stop is over
		for i := 500; ; i += 20 {
			select {
			case <-enough:
				return
			default:
				s.write("contacts", i, 20)
			}
		}
	})
	got, errs := make([][]uint64, 10), make([]error, 10)
	var readers, caughtUp sync.WaitGroup
	caughtUp.Add(10)
	for i, m := range manners() {
		readers.Go(func() {
			var once sync.Once
			defer once.Do(caughtUp.Done)
			in, err := s.open(ctx, "/v1/streams/contacts/changes?follow=true", m)
			if err != nil {
				errs[i] = err
				return
			}
			defer in.Close()
			got[i], errs[i] = readPlaces(in, m, func(seq uint64) bool {
				if seq >= want[len(want)-1] {
					once.Do(caughtUp.Done)
				}
				return false
			})
		})
	}
	// Those of events, too: beside each other they end at the end of a frame.
	ends := make([]string, 4)
	for i := range ends {
		caughtUp.Add(1)
		readers.Go(func() {
			in, err := s.open(ctx, "/v1/events", manner{accept: frames, packed: i%2 == 1})
			if err != nil {
				caughtUp.Done()
				ends[i] = err.Error()
				return
			}
			defer in.Close()
			first := make([]byte, 1)
			_, err = io.ReadFull(in, first)
			caughtUp.Done()
			rest, more := io.ReadAll(in)
			if ends[i] = string(first) + string(rest); err != nil || more != nil {
				ends[i] += fmt.Sprint("cut off: ", errors.Join(err, more))
			}
		})
	}
	caughtUp.Wait()
	s.stop()
	readers.Wait()
	close(enough)
	writing.Wait()
	all := s.places("contacts")
	for i, m := range manners() {
		if n := len(got[i]); errs[i] != nil || n < len(want) || !slices.Equal(got[i], all[:n]) {
			t.Errorf("reader %d (%s): %d of %d places, %v", i, m, n, len(all), errs[i])
		}
	}
	for i, text := range ends {
		if !strings.HasSuffix(text, "\n\n") || !strings.HasPrefix(text, ":") {
			t.Errorf("reader %d of events has: %q", i, text)
		}
	}
}
