package hubspot

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// read returns a body, unpacked, or errTooLarge where it is above the bound as
// sent or unpacked.
func (c *Client) read(resp *http.Response, kind string) ([]byte, error) {
	if resp.ContentLength > c.maxBody {
		return nil, fmt.Errorf("reply of %d bytes: %w", resp.ContentLength, errTooLarge)
	}
	sent := &bounded{r: resp.Body, left: c.maxBody}
	if resp.Header.Get("Content-Encoding") != "gzip" {
		return c.gather(sent, kind)
	}
	unpacker, ok := c.unpackers.Get().(*gzip.Reader)
	var err error
	if ok {
		err = unpacker.Reset(sent)
	} else {
		unpacker, err = gzip.NewReader(sent)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack reply: %w", err)
	}
	body, err := c.gather(&bounded{r: unpacker, left: c.maxBody}, kind)
	if err != nil {
		return nil, err
	}
	c.unpackers.Put(unpacker)
	return body, nil
}

// keptBody bounds what is kept for the next page.
const keptBody = 1 << 20

// bodies are the memory of list pages that were given back. Without it a page
// would be half of what a worker allocates.
type bodies struct{ pool sync.Pool }

func (p *bodies) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func (p *bodies) put(b []byte) {
	if cap(b) <= keptBody {
		p.pool.Put(&b)
	}
}

// gather reads to the end, into memory that was given back, or into about as
// much as the last reply of the kind took: records keep the body alive, so it
// should have no slack.
func (c *Client) gather(r io.Reader, kind string) ([]byte, error) {
	c.shared.mu.Lock()
	size := c.sizes[kind]
	c.shared.mu.Unlock()
	var body []byte
	if kind == "list" {
		body = c.bodies.get()
	}
	if body == nil {
		body = make([]byte, 0, min(size+size/8, 4<<20)+512)
	}
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read reply: %w", err)
		}
	}
	c.shared.mu.Lock()
	c.sizes[kind] = len(body)
	c.shared.mu.Unlock()
	return body, nil
}

// bounded gives errTooLarge instead of more than left bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err //nolint:wrapcheck // a reader's error is passed on as it is
}

// plainError takes the address out of an error of net/http: it is long where
// properties are many, and says nothing that the caller does not.
func plainError(err error) error {
	if at, ok := errors.AsType[*url.Error](err); ok {
		err = at.Err
	}
	return fmt.Errorf("ask HubSpot: %w", err)
}
