package simulator

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

type requestKind int

const (
	kindOfList requestKind = iota
	kindOfGet
	kindOfBatch
	kindOfSearch
	kindOfProperties
	kindOfAccount
	kindOfAssociations
	kindOfLinked
	kindOfSchemas
	kindOfToken
	kindOfSet
	kindOfJournal
	kindOfOther
	kinds
)

func (k requestKind) String() string {
	return [...]string{"list", "get", "batch_read", "search", "properties", "account", "associations", "linked", "schemas", "token", "set", "journal", "other"}[k]
}

// burst says whether the ten-second limit binds.
func (k requestKind) burst() bool { return k != kindOfSearch && k != kindOfAssociations }

// route is what an address means.
type route struct {
	kind   requestKind
	st     *store
	id     string
	known  bool // false: 404
	method string
	do     func(*call) // what answers, where the kind alone does not say it
}

// call is one request being answered.
type call struct {
	s     *Simulator
	w     http.ResponseWriter
	r     *http.Request
	sw    *switches
	now   time.Time
	draw  uint64
	fault fault
}

func (c *call) header() http.Header { return c.w.Header() }

// ServeHTTP answers as HubSpot would, and the control addresses under
// /_simulator/.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r, sw: s.switches.Load(), now: s.o.Now(), fault: noFault}
	w.Header().Set("Date", c.now.UTC().Format(http.TimeFormat))
	if rest, ok := strings.CutPrefix(r.URL.Path, "/_simulator/"); ok {
		c.control(rest)
		return
	}
	c.draw = mix(uint64(s.o.Seed)<<20 ^ s.drawn.Add(1))
	if s.o.Journal != nil && strings.HasPrefix(r.URL.Path, filePath) {
		c.journalFile() // storage, which is another's: no token, no limits
		return
	}
	rt := s.route(r.URL.Path, c.sw)
	s.count.kinds[rt.kind].Add(1)
	c.header().Set("X-HubSpot-Correlation-Id", c.correlation())
	if len(r.RequestURI) > s.o.MaxURL {
		s.count.tooLong.Add(1)
		c.html(http.StatusRequestURITooLong, "414 Request-URI Too Large")
		return
	}
	if rt.kind == kindOfJournal && rt.known {
		c.serveJournal(rt)
		return
	}
	if rt.kind != kindOfToken && !c.authorized() {
		s.count.unauthorized.Add(1)
		return
	}
	if c.sw.limits {
		refused, use := s.admit(rt.kind)
		use.headers(c.header(), rt.kind)
		if refused != admitted {
			s.refuse(c, refused)
			return
		}
	}
	if !c.wait() {
		return
	}
	c.fault = s.drawFault(c.draw, c.sw.faultRate)
	if c.failEarly(c.fault) {
		return
	}
	s.schemaMu.RLock()
	defer s.schemaMu.RUnlock()
	c.serve(rt)
}

func (c *call) serve(rt route) {
	switch {
	case !rt.known:
		c.fail(404, "", "resource not found", "")
		return
	case c.r.Method != rt.method:
		c.fail(405, "", "method not allowed", "")
		return
	}
	if rt.st != nil {
		if scopes := c.sw.scopesMissing[rt.st.sc.name]; len(scopes) > 0 {
			c.s.count.forbidden.Add(1)
			c.missingScopes(scopes)
			return
		}
	}
	if rt.do != nil {
		rt.do(c)
		return
	}
	switch rt.kind {
	case kindOfList:
		c.list(rt.st)
	case kindOfGet:
		c.get(rt.st, rt.id)
	case kindOfBatch:
		c.batch(rt.st)
	case kindOfSearch:
		c.search(rt.st)
	case kindOfProperties:
		c.properties(rt.st)
	default:
		c.account()
	}
}

// route reads an address: /crm/objects/2026-09/contacts, and for v3 also
// /crm/v3/objects/contacts.
func (s *Simulator) route(path string, sw *switches) route {
	p := strings.Split(strings.Trim(path, "/"), "/")
	if len(p) == 3 && p[0] == "account-info" && p[2] == "details" {
		return route{kind: kindOfAccount, known: slices.Contains(sw.versions, p[1]), method: http.MethodGet}
	}
	if len(p) < 4 || p[0] != "crm" {
		return s.further(p, sw)
	}
	if p[1] == "v3" {
		p[1], p[2] = p[2], p[1]
	}
	st := s.object(p[3])
	if st == nil || !sw.serves(p[2], st.sc.version) {
		return s.further(p, sw)
	}
	rt := route{st: st, known: true, method: http.MethodGet}
	rest := p[4:]
	switch {
	case p[1] == "properties" && len(rest) == 0:
		rt.kind = kindOfProperties
	case p[1] == "objects" && len(rest) == 0:
		rt.kind = kindOfList
	case p[1] == "objects" && len(rest) == 1 && rest[0] == "search":
		rt.kind, rt.method = kindOfSearch, http.MethodPost
	case p[1] == "objects" && len(rest) == 1:
		rt.kind, rt.id = kindOfGet, rest[0]
	case p[1] == "objects" && len(rest) == 2 && rest[0] == "batch" && rest[1] == "read":
		rt.kind, rt.method = kindOfBatch, http.MethodPost
	default:
		return s.further(p, sw)
	}
	return rt
}

// nowhere tells whether a token is one of a private app that names no data
// centre, as pat-eu1-... does: the proxy does not know where to ask.
func nowhere(token string) bool {
	of, isPrivate := strings.CutPrefix(token, "pat-")
	place, _, _ := strings.Cut(of, "-")
	return isPrivate && (len(place) != 3 || strings.Trim(place[:2], "abcdefghijklmnopqrstuvwxyz") != "" || strings.Trim(place[2:], "0123456789") != "")
}

func (c *call) authorized() bool {
	auth := c.r.Header.Get("Authorization")
	token, ok := strings.CutPrefix(auth, "Bearer ")
	var given bool
	var ended time.Duration
	if c.s.o.OAuth != nil {
		given, ended = c.s.granted(token, c.now)
	}
	switch {
	case !ok || token == "":
		c.fail(401, "INVALID_AUTHENTICATION", "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview", "")
	case c.sw.unauthorized:
		c.fail(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 60 second(s) ago.", `"context":{"expire time":["`+string(appendTime(nil, c.now.UnixMilli()-60_000))+`"]}`)
	case given && ended >= 0:
		c.fail(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired "+strconv.Itoa(int(ended.Seconds()))+" second(s) ago.", `"context":{"expire time":["`+string(appendTime(nil, c.now.Add(-ended).UnixMilli()))+`"]}`)
	case given:
		return true
	case token != c.sw.token && nowhere(token):
		c.html(530, "530 origin unreachable")
	case token != c.sw.token && (c.sw.token != "" || c.s.o.OAuth != nil):
		c.fail(401, "INVALID_AUTHENTICATION", "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview", "")
	default:
		return true
	}
	return false
}

// wait spends the latency; false says that the client went away.
func (c *call) wait() bool {
	if c.sw.latency <= 0 {
		return true
	}
	t := time.NewTimer(c.sw.latency)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.r.Context().Done():
		return false
	}
}

// maxBody bounds what a client may send.
const maxBody = 4 << 20

func (c *call) body() ([]byte, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		c.fail(400, "VALIDATION_ERROR", "Invalid input: the body cannot be read", "")
		return nil, false
	}
	return b, true
}

// fail answers with HubSpot's envelope; more is further JSON members.
func (c *call) fail(status int, category, message, more string) {
	b := append([]byte(nil), `{"status":"error","message":"`...)
	b = appendEscaped(b, message)
	b = append(b, `","correlationId":"`...)
	b = append(b, c.correlation()...)
	b = append(b, '"')
	if category != "" {
		b = append(b, `,"category":"`+category+`"`...)
	}
	if more != "" {
		b = append(b, ","+more...)
	}
	c.send(status, "application/json;charset=utf-8", append(b, '}'))
}

func (c *call) invalid(message string) { c.fail(400, "VALIDATION_ERROR", message, "") }

func (c *call) missingScopes(scopes []string) {
	b := []byte(`"errors":[{"message":"One or more of the following scopes are required.","context":{"requiredGranularScopes":[`)
	for i, sc := range scopes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendEscaped(append(b, '"'), sc), '"')
	}
	b = append(b, `]}}],"links":{"scopes":"https://developers.hubspot.com/scopes"}`...)
	c.fail(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: https://developers.hubspot.com/scopes.", string(b))
}

func (c *call) html(status int, title string) {
	c.send(status, "text/html", []byte("<html>\r\n<head><title>"+title+"</title></head>\r\n<body>\r\n<center><h1>"+title+"</h1></center>\r\n</body>\r\n</html>\r\n"))
}

func (c *call) correlation() string {
	const hex = "0123456789abcdef"
	b := []byte("00000000-0000-4000-8000-000000000000")
	h := mix(c.draw ^ 0xc0ffee)
	for i := range b {
		if b[i] == '0' && i != 14 {
			b[i] = hex[h&15]
			h = h>>4 | h<<60
		}
	}
	return string(b)
}

// reply answers with JSON, spoiled where a fault was drawn for it.
func (c *call) reply(status int, body []byte) {
	switch c.fault {
	case faultCut:
		c.cut(status, body)
	case faultInvalid:
		c.send(status, "application/json;charset=utf-8", body[:len(body)-len(body)/3-1])
	default:
		c.send(status, "application/json;charset=utf-8", body)
	}
}

// reuse keeps what would cost more to make than to use: compressors with their
// tables, and the bodies of pages.
type reuse struct{ packers, bodies sync.Pool }

func (p *reuse) packer(w io.Writer) *gzip.Writer {
	if z, ok := p.packers.Get().(*gzip.Writer); ok {
		z.Reset(w)
		return z
	}
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
	return z
}

// buffer is an empty body to append to; recycle takes it back with what it has
// become.
func (p *reuse) buffer() *[]byte {
	if b, ok := p.bodies.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (p *reuse) recycle(buf *[]byte, b []byte) {
	*buf = b[:0]
	p.bodies.Put(buf)
}

// smallest is the size below which compression is not worth a header.
const smallest = 1024

// gzips says whether to compress; pre-rendered pages would cost many times as
// much with it.
func (c *call) gzips() bool {
	return !c.s.o.PreRendered && strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip")
}

func (c *call) send(status int, contentType string, body []byte) {
	h := c.header()
	h.Set("Content-Type", contentType)
	if len(body) < smallest || !c.gzips() {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		c.w.WriteHeader(status)
		_, _ = c.w.Write(body)
		return
	}
	h.Set("Content-Encoding", "gzip")
	h.Add("Vary", "Accept-Encoding")
	c.w.WriteHeader(status)
	// Into memory first: the server would write it in pieces of 2 KiB.
	buf := c.s.buffer()
	packed := bytes.NewBuffer(*buf)
	z := c.s.packer(packed)
	_, _ = z.Write(body)
	_ = z.Close()
	c.s.packers.Put(z)
	_, _ = c.w.Write(packed.Bytes())
	c.s.recycle(buf, packed.Bytes())
}
