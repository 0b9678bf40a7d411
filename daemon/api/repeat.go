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
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// headerKey names a request that may come again: the same one is answered with
// the same answer, and done once.
const headerKey = "Idempotency-Key"

// maxKey bounds a key.
const maxKey = 255

// Repeated is what became of a request with a key, to be answered with again.
type Repeated struct {
	Key    string // of its caller; tells nothing of the credentials
	Digest string // of what was asked for
	At     time.Time
	Status int
	Media  string
	Body   []byte
	Gone   bool // whether the body was too large to be kept
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
	// large is what the answers that are not small have in all; lost are the keys of
	// those that were let go of for it, and that may still be kept elsewhere.
	large int
	lost  []string
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
		x := &repeated{digest: k.Digest, at: k.At, done: done, kept: true, status: k.Status, media: k.Media, body: k.Body, gone: k.Gone}
		r.known[k.Key] = x
		r.large += stream.Large(len(x.body))
	}
	r.trim()
	r.shed()
}

// trim forgets what is too old, as far as it stands first, and what is too much.
func (r *repeats) trim() {
	n := max(0, len(r.order)-stream.MostAnswers)
	for n < len(r.order) && r.now().Sub(r.known[r.order[n]].at) >= stream.AnswersFor {
		n++
	}
	for _, old := range r.order[:n] {
		r.large -= stream.Large(len(r.known[old].body))
		delete(r.known, old)
	}
	r.forgotten = append(r.forgotten, r.order[:n]...)
	r.order = r.order[n:]
}

// shed lets the oldest of the large answers go where they are too much. That
// they were given is still known: it would be worse to do a thing twice.
func (r *repeats) shed() {
	for _, key := range r.order {
		if r.large <= stream.LargeAnswers {
			return
		}
		if x := r.known[key]; stream.Large(len(x.body)) > 0 {
			r.large -= len(x.body)
			x.body, x.gone = nil, true
			r.lost = append(r.lost, key)
		}
	}
}

// answered notes the answer to a request. What has to be kept elsewhere comes
// back, with what is to be forgotten there.
func (r *repeats) answered(key string, x *repeated, k *keeping) (keep []Repeated, forget []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.kept, x.status, x.media, x.body, x.gone = true, k.status, k.Header().Get("Content-Type"), bytes.Clone(k.body.Bytes()), k.large
	if r.known[key] != x {
		return nil, nil // so many came after it that nobody is answered with it
	}
	r.large += stream.Large(len(x.body))
	r.shed()
	keep = append(keep, x.as(key))
	for _, other := range r.lost {
		if y := r.known[other]; y != nil && y != x && y.gone {
			keep = append(keep, y.as(other))
		}
	}
	forget = r.forgotten
	r.lost, r.forgotten = nil, nil
	return keep, forget
}

// answer is what became of a request that is done.
func (r *repeats) answer(x *repeated) repeated {
	r.mu.Lock()
	defer r.mu.Unlock()
	return *x
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
	gone   bool // whether the body was let go of
}

// as is what is kept elsewhere of it.
func (x *repeated) as(key string) Repeated {
	return Repeated{Key: key, Digest: x.digest, At: x.at.Round(0), Status: x.status, Media: x.media, Body: x.body, Gone: x.gone}
}

// begin gives what is known under a key; mine tells that it is new and has to
// be answered by the caller, who calls end.
func (r *repeats) begin(key, digest string) (x *repeated, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x = r.known[key]; x != nil && r.now().Sub(x.at) < stream.AnswersFor {
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
	x := r.known[key]
	if x == nil {
		return
	}
	r.large -= stream.Large(len(x.body))
	delete(r.known, key)
	if i := slices.Index(r.order, key); i >= 0 {
		r.order = slices.Delete(r.order, i, i+1)
	}
}

// keeping is an answer that is remembered while it is sent, as long as it is not
// too large.
type keeping struct {
	recorder
	body  bytes.Buffer
	large bool
}

func (k *keeping) Write(b []byte) (int, error) {
	if k.large = k.large || k.body.Len()+len(b) > stream.LargestAnswer; k.large {
		k.body = bytes.Buffer{}
	} else {
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
			if k.status >= 200 && k.status < 500 {
				s.keep(r, whole, x, k)
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
	was := s.repeats.answer(x)
	switch {
	case !was.kept: // it failed: now it is this one's turn
		return s.once(w, r, f)
	case was.gone:
		return &client.Problem{Type: client.TypeAnswerGone, Title: "this was answered before, and the answer is not kept any more", Status: http.StatusGone,
			Detail: fmt.Sprintf("%s %q came before and was answered with %d at %s; nothing was done again", headerKey, Clip(key), was.status, was.at.UTC().Format(time.RFC3339)),
			Hint:   "see how it stands, as with GET /v1/streams and /v1/runs; what is to be done once more takes a new key"}
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", was.media)
	w.Header().Set("Idempotency-Replayed", "true")
	w.WriteHeader(was.status)
	_, _ = w.Write(was.body)
	return nil
}

// keepTime bounds how long a request waits for its answer to be kept.
const keepTime = 5 * time.Second

// keep makes an answer outlast the process, before anybody is answered with it
// again.
func (s *Server) keep(r *http.Request, key string, x *repeated, k *keeping) {
	answers, forget := s.repeats.answered(key, x, k)
	if s.o.Keep == nil || len(answers) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keepTime) // the server's end does not end this
	defer cancel()
	if err := s.o.Keep(ctx, answers, forget); err != nil {
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
