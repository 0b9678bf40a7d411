// Package webhook reads what HubSpot sends when something has changed: it holds
// a request against the app's secret, and makes names of records of its events.
// It knows no HTTP, no store and no configuration.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers of HubSpot's signatures.
const (
	SignatureHeader = "X-HubSpot-Signature-v3"
	TimestampHeader = "X-HubSpot-Request-Timestamp"
	OldHeader       = "X-HubSpot-Signature"
)

// Window is how far the time of a request may be from now; HubSpot says five
// minutes.
const Window = 5 * time.Minute

// The reasons for which a request is not taken for HubSpot's.
var (
	ErrUnsigned = errors.New("the request has no signature of version 3")
	ErrStale    = errors.New("the request was signed more than five minutes from now")
	ErrForged   = errors.New("the signature is not that of the app's client secret over this address and body")
)

// Signed is what a signature is made of. Addresses are those by which HubSpot
// may have called: a proxy in front hides which one it was.
type Signed struct {
	Method    string
	Addresses []string
	Body      []byte
	Timestamp string // milliseconds since 1970
	Signature string
}

// Verify returns nil where a request is signed with the secret, and was within
// the last five minutes. Versions 1 and 2 of the signature know no time, so that
// whoever has seen a request could send it for ever; they do not count.
func (s Signed) Verify(secret string, now time.Time) error {
	if s.Signature == "" || s.Timestamp == "" {
		return ErrUnsigned
	}
	ms, err := strconv.ParseInt(s.Timestamp, 10, 64)
	if err != nil {
		return ErrUnsigned
	}
	if age := now.Sub(time.UnixMilli(ms)); age > Window || age < -Window {
		return ErrStale
	}
	got, err := base64.StdEncoding.DecodeString(s.Signature)
	if err != nil || secret == "" {
		return ErrForged
	}
	found := false
	for _, address := range s.Addresses {
		// Each is looked at, so that the time says nothing of which it was.
		if hmac.Equal(got, sum(secret, s.Method, address, s.Body, s.Timestamp)) {
			found = true
		}
	}
	if !found {
		return ErrForged
	}
	return nil
}

// Sign is the signature of a request, as HubSpot makes it.
func Sign(secret, method, address string, body []byte, at time.Time) (signature, timestamp string) {
	timestamp = strconv.FormatInt(at.UnixMilli(), 10)
	return base64.StdEncoding.EncodeToString(sum(secret, method, address, body, timestamp)), timestamp
}

func sum(secret, method, address string, body []byte, timestamp string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	for _, part := range []string{method, unescaped(address)} {
		_, _ = h.Write([]byte(part)) // a hash never fails
	}
	_, _ = h.Write(body)
	_, _ = h.Write([]byte(timestamp))
	return h.Sum(nil)
}

// unescaped undoes the escapes that HubSpot undoes before it signs, and no
// others.
func unescaped(address string) string {
	if !strings.Contains(address, "%") {
		return address
	}
	var b strings.Builder
	for i := 0; i < len(address); i++ {
		if address[i] == '%' && i+2 < len(address) {
			if n, err := strconv.ParseUint(address[i+1:i+3], 16, 8); err == nil && strings.IndexByte(":/?@!$'()*,;", byte(n)) >= 0 {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(address[i])
	}
	return b.String()
}

// Hint is a record that an event names.
type Hint struct {
	Object       string // HubSpot's number of the type, such as "0-1"
	Record       string
	Associations bool // they have changed, too
}

// typeOf are HubSpot's numbers of the types that subscriptions have words for.
func typeOf(word string) string {
	switch word {
	case "contact":
		return "0-1"
	case "company":
		return "0-2"
	case "deal":
		return "0-3"
	case "ticket":
		return "0-5"
	case "product":
		return "0-7"
	case "line_item":
		return "0-8"
	}
	return ""
}

// errOf says which event of a request is wrong.
func errOf(i int, format string, args ...any) error {
	return fmt.Errorf("event %d: "+format, append([]any{i}, args...)...)
}
