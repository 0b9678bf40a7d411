package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Media types of lists.
const (
	mediaJSON    = "application/json"
	mediaNDJSON  = "application/x-ndjson"
	mediaSSE     = "text/event-stream"
	mediaCSV     = "text/csv"
	mediaParquet = "application/vnd.apache.parquet"
	mediaBinary  = "application/octet-stream"
)

// chunk is how much of an answer is gathered before it is sent.
const chunk = 64 << 10

// output gathers an answer and sends it in pieces; as long as nothing was sent,
// an error can still be answered as one.
type output struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	media string
	buf   []byte
	sent  bool
	least int // how much is gathered before the first piece is sent; 0 is a chunk
	// quit is closed when the answer has to end, whole or not; nil: never.
	quit <-chan struct{}
}

func newOutput(w http.ResponseWriter, media string) *output {
	return &output{w: w, rc: http.NewResponseController(w), media: media, buf: make([]byte, 0, chunk+chunk/4)}
}

// errReader says that it was the reader of the answer that failed, not we.
var errReader = errors.New("the reader has gone")

// send writes what was gathered, where it is enough or flush is set; with flush
// it goes out to the reader at once.
func (o *output) send(flush bool) error {
	if len(o.buf) < chunk && !flush || len(o.buf) < o.least && !o.sent && !flush {
		return nil
	}
	_ = o.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	select { // after the deadline is set: interrupt may have been earlier
	case <-o.quit:
		return errStopping
	default:
	}
	if !o.sent {
		o.sent = true
		o.w.Header().Set("Content-Type", o.media)
		o.w.WriteHeader(http.StatusOK)
	}
	if len(o.buf) > 0 {
		_, err := o.w.Write(o.buf)
		o.buf = o.buf[:0]
		if err != nil {
			return errReader
		}
	}
	if flush {
		if err := o.rc.Flush(); err != nil {
			return errReader
		}
	}
	return nil
}

// end completes an answer: with an error before the first piece that is the
// answer; after it the connection is cut, so that nobody takes a part for the
// whole.
func (s *Server) end(o *output, r *http.Request, err error) error {
	if err == nil {
		err = o.send(true)
	}
	switch {
	case err == nil || errors.Is(err, errReader):
		return nil
	case !o.sent:
		return err
	}
	if r.Context().Err() == nil {
		s.log.Error("an answer was cut short", "path", r.URL.Path, "error", err)
	}
	panic(http.ErrAbortHandler) // net/http's way of saying so
}

// prefer picks the media type of those offered that the request likes best; the
// first where it does not say or likes none.
func prefer(r *http.Request, offers ...string) string {
	best, bestQ := offers[0], 0.0
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		media, rest, _ := strings.Cut(part, ";")
		media = strings.ToLower(strings.TrimSpace(media))
		if media == "application/ndjson" || media == "application/jsonl" {
			media = mediaNDJSON
		}
		q := 1.0
		for p := range strings.SplitSeq(rest, ";") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(p), "q="); ok {
				if f, err := strconv.ParseFloat(v, 64); err == nil {
					q = f
				}
			}
		}
		for _, o := range offers {
			if o == media && q > bestQ {
				best, bestQ = o, q
			}
		}
	}
	return best
}
