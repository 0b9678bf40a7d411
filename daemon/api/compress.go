package api

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Encodings that answers are packed with, the better one first.
const (
	encodingZstd = "zstd"
	encodingGzip = "gzip"
)

// smallest is the size from which on an answer is worth packing.
const smallest = 1 << 10

// packer is what both encodings' writers do.
type packer interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// packers keeps writers for the next answer: one holds some hundred KB.
type packers struct{ zstd, gzip sync.Pool }

func (p *packers) of(encoding string) *sync.Pool {
	if encoding == encodingZstd {
		return &p.zstd
	}
	return &p.gzip
}

func (p *packers) take(encoding string, w io.Writer) packer {
	if kept, ok := p.of(encoding).Get().(packer); ok {
		kept.Reset(w)
		return kept
	}
	if encoding == encodingZstd {
		// Speed counts: most answers go no further than the next rack. The window
		// bounds the memory of both sides.
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10),
			zstd.WithLowerEncoderMem(true))
		if err == nil {
			return z
		}
	}
	g, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil { // the level is one that there is
		g = gzip.NewWriter(w)
	}
	return g
}

// packed is an answer that is packed on the way where its reader likes that and
// it is worth it. What is flushed reaches the reader at once.
type packed struct {
	http.ResponseWriter
	packers  *packers
	encoding string // "" for none
	out      packer
	status   int // that was given before it was known whether to pack
	begun    bool
	failed   bool
}

// WriteHeader waits for the first piece, which decides.
func (p *packed) WriteHeader(status int) {
	if p.begun || p.encoding == "" || status < 200 {
		p.ResponseWriter.WriteHeader(status)
		p.begun = p.begun || status >= 200
		return
	}
	if p.status == 0 {
		p.status = status
	}
}

// begin decides, with the first n bytes at hand, and sends the header.
func (p *packed) begin(n int) {
	if p.begun {
		return
	}
	p.begun = true
	h := p.Header()
	if p.encoding != "" && h.Get("Content-Encoding") == "" && worth(h.Get("Content-Type"), n) {
		h.Set("Content-Encoding", p.encoding)
		h.Del("Content-Length")
		if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
			h.Set("ETag", "W/"+tag) // not the same bytes
		}
		p.out = p.packers.take(p.encoding, p.ResponseWriter)
	}
	if p.status != 0 {
		p.ResponseWriter.WriteHeader(p.status)
	}
}

// worth tells whether an answer of a media type that begins with n bytes is
// packed. What is streamed is; a file that is packed already is not.
func worth(media string, n int) bool {
	media, _, _ = strings.Cut(media, ";")
	switch media {
	case mediaNDJSON, mediaSSE, mediaCSV:
		return true
	case mediaJSON, "text/html":
		return n >= smallest
	}
	return false
}

func (p *packed) Write(b []byte) (int, error) {
	p.begin(len(b))
	if p.out == nil {
		return p.ResponseWriter.Write(b)
	}
	n, err := p.out.Write(b)
	p.failed = p.failed || err != nil
	return n, err
}

// FlushError sends what was written so far.
func (p *packed) FlushError() error {
	p.begin(0)
	if p.out != nil {
		if err := p.out.Flush(); err != nil {
			p.failed = true
			return err
		}
	}
	return http.NewResponseController(p.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (p *packed) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// close ends an answer that has come to its end.
func (p *packed) close() {
	if !p.begun && p.status != 0 {
		p.begin(0)
	}
	if p.out == nil {
		return
	}
	if err := p.out.Close(); err == nil && !p.failed {
		p.out.Reset(nil)
		p.packers.of(p.encoding).Put(p.out)
	}
	p.out = nil
}

// encodingOf is what a request likes its answer to be packed with.
func encodingOf(r *http.Request) string {
	if r.Method == http.MethodHead {
		return ""
	}
	best, bestQ := "", 0.0
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, rest, _ := strings.Cut(part, ";")
		name = strings.ToLower(strings.TrimSpace(name))
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(rest), "q="); ok {
			if f, err := strconv.ParseFloat(v, 64); err == nil {
				q = f
			}
		}
		if name == encodingZstd && q >= bestQ && q > 0 || name == encodingGzip && q > bestQ {
			best, bestQ = name, q
		}
	}
	return best
}
