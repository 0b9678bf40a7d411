package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// headerKey names a request that may come again: the same one is answered with
// the same answer, and done once.
const headerKey = "Idempotency-Key"

// Bounds of the keys that are remembered, as of commands on the control topic.
const (
	maxKey         = 255
	rememberedKeys = 1000
	rememberFor    = 24 * time.Hour
	maxRemembered  = 256 << 10
)

// Repeated is what became of a request with a key, to be answered with again.
type Repeated struct {
	Key    string // of its caller; tells nothing of the credentials
	Digest string // of what was asked for
	At     time.Time
	Status int
	Media  string
	Body   []byte
}

// repeats are the answers to requests with a key.
type repeats struct {
	now func() time.Time

	mu    sync.Mutex
	known map[string]*repeated
	order []string
	// forgotten are the keys of those that are known no more, and that may still be
	// kept elsewhere.
	forgotten []string
}

// recall takes over what was kept, oldest first.
func (r *repeats) recall(kept []Repeated) {
	done := make(chan struct{})
	close(done)
	for i := range kept {
		k := &kept[i]
		if r.known[k.Key] == nil {
			r.order = append(r.order, k.Key)
		}
		r.known[k.Key] = &repeated{digest: k.Digest, at: k.At, done: done, kept: true, status: k.Status, media: k.Media, body: k.Body}
	}
	r.trim()
}

// trim forgets what is too old, as far as it stands first, and what is too much.
func (r *repeats) trim() {
	n := max(0, len(r.order)-rememberedKeys)
	for n < len(r.order) && r.now().Sub(r.known[r.order[n]].at) >= rememberFor {
		n++
	}
	for _, old := range r.order[:n] {
		delete(r.known, old)
	}
	r.forgotten = append(r.forgotten, r.order[:n]...)
	r.order = r.order[n:]
}

// forget takes the keys that were forgotten since it was called last.
func (r *repeats) forget() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.forgotten
	r.forgotten = nil
	return out
}

// repeated is a request that was made under a key. What became of it is there
// when done is closed.
type repeated struct {
	digest string
	at     time.Time
	done   chan struct{}

	kept   bool // whether there is an answer
	status int
	media  string
	body   []byte
}

// begin gives what is known under a key; mine tells that it is new and has to
// be answered by the caller, who calls end.
func (r *repeats) begin(key, digest string) (x *repeated, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x = r.known[key]; x != nil && r.now().Sub(x.at) < rememberFor {
		return x, false
	}
	r.drop(key) // it is too old: its place is at the end now
	r.order = append(r.order, key)
	x = &repeated{digest: digest, at: r.now(), done: make(chan struct{})}
	r.known[key] = x
	r.trim()
	return x, true
}

// end says what became of it; what is not worth keeping leaves its key to the
// next that comes.
func (r *repeats) end(key string, x *repeated) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !x.kept && r.known[key] == x {
		r.drop(key)
	}
	close(x.done)
}

// drop leaves a key to the next that comes.
func (r *repeats) drop(key string) {
	if r.known[key] == nil {
		return
	}
	delete(r.known, key)
	if i := slices.Index(r.order, key); i >= 0 {
		r.order = slices.Delete(r.order, i, i+1)
	}
}

// keeping is an answer that is remembered while it is sent.
type keeping struct {
	recorder
	body bytes.Buffer
}

func (k *keeping) Write(b []byte) (int, error) {
	if k.body.Len() <= maxRemembered {
		k.body.Write(b)
	}
	return k.recorder.Write(b)
}

// once answers a POST that bears a key: with f where it is new, else with what
// became of the first, for which it waits.
func (s *Server) once(w http.ResponseWriter, r *http.Request, f func(http.ResponseWriter, *http.Request)) error {
	key := r.Header.Get(headerKey)
	if wrong := checkKey(key, len(r.Header.Values(headerKey))); wrong != "" {
		return &client.Problem{Type: client.TypeBadParameter, Title: "a header is wrong", Status: http.StatusBadRequest,
			Detail: headerKey + " " + wrong, Hint: fmt.Sprintf("%s is up to %d letters, digits and signs, a new one for each command, such as a UUID", headerKey, maxKey)}
	}
	body, err := readAll(r)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", r.URL.Path, r.URL.RawQuery, bytes.TrimSpace(body)))
	whole := ofCaller(r, key)
	x, mine := s.repeats.begin(whole, hex.EncodeToString(sum[:]))
	if mine {
		// It is done to its end even if nobody waits for it any more: the one who
		// gave up is the one who comes again.
		ctx, cancel := s.lasting(context.WithoutCancel(r.Context()))
		defer cancel()
		r = r.WithContext(ctx)
		k := &keeping{recorder: recorder{ResponseWriter: w}}
		defer func() {
			// What failed inside may be tried again.
			x.kept = k.status >= 200 && k.status < 500 && k.body.Len() <= maxRemembered
			x.status, x.media, x.body = k.status, w.Header().Get("Content-Type"), k.body.Bytes()
			if x.kept {
				s.keep(r, whole, x)
			}
			s.repeats.end(whole, x)
		}()
		f(k, r)
		return nil
	}
	if x.digest != hex.EncodeToString(sum[:]) {
		return &client.Problem{Type: client.TypeIDUsed, Title: "this id was used for another command", Status: http.StatusConflict,
			Detail: fmt.Sprintf("%s %q named another request less than a day ago; this one was not done", headerKey, Clip(key)),
			Hint:   "give each command a key of its own; a repeat of the same command keeps its key"}
	}
	select {
	case <-x.done:
	case <-r.Context().Done():
		return r.Context().Err()
	case <-s.quit:
		return errStopping
	}
	if !x.kept { // it failed: now it is this one's turn
		return s.once(w, r, f)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", x.media)
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(x.status)
	_, _ = w.Write(x.body)
	return nil
}

// keepTime bounds how long a request waits for its answer to be kept.
const keepTime = 5 * time.Second

// keep makes an answer outlast the process, before anybody is answered with it
// again.
func (s *Server) keep(r *http.Request, key string, x *repeated) {
	if s.o.Keep == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keepTime) // the server's end does not end this
	defer cancel()
	forget := s.repeats.forget()
	if err := s.o.Keep(ctx, &Repeated{Key: key, Digest: x.digest, At: x.at.Round(0), Status: x.status, Media: x.media, Body: x.body}, forget); err != nil {
		s.log.Warn("a request's answer is remembered until the next start only", "path", r.URL.Path, "error", err)
	}
}

func checkKey(key string, times int) (wrong string) {
	switch {
	case times > 1:
		return fmt.Sprintf("is given %d times", times)
	case key == "":
		return "is empty"
	case len(key) > maxKey:
		return fmt.Sprintf("has %d characters", len(key))
	case strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Sprintf("is %q", Clip(key))
	}
	return ""
}

// ofCaller is a key as it is remembered: another caller's is another one. It
// tells nothing of the credentials.
func ofCaller(r *http.Request, key string) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", r.Header.Get("Authorization"), key)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		sum.Write(r.TLS.PeerCertificates[0].Raw)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
