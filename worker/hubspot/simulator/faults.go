package simulator

import (
	"net"
	"net/http"
	"strconv"
)

type fault int

const (
	fault500 fault = iota
	fault502
	fault503
	fault423
	fault477
	faultCut
	faultInvalid
	faultReset
	faultKinds
	noFault fault = -1
)

func (f fault) String() string {
	return [...]string{"500", "502", "503", "423", "477", "cut", "invalid", "reset"}[f]
}

// drawFault decides by the request's place in the sequence.
func (s *Simulator) drawFault(draw uint64, rate float64) fault {
	if rate <= 0 || float64(draw>>11)/(1<<53) >= rate {
		return noFault
	}
	f := fault(mix(draw) % uint64(faultKinds))
	s.count.faultKinds[f].Add(1)
	return f
}

// failEarly answers with a fault that needs no reply of its own; false says
// that the fault concerns the reply, or that there is none.
func (c *call) failEarly(f fault) bool {
	switch f {
	case fault500:
		c.fail(500, "", "internal error", "")
	case fault502:
		c.html(502, "502 Bad Gateway")
	case fault503:
		c.html(503, "503 Service Temporarily Unavailable")
	case fault423:
		c.fail(423, "LOCKED", "The resource is currently locked. Try again in a few seconds.", "")
	case fault477:
		c.header().Set("Retry-After", "1")
		c.fail(477, "MIGRATION_IN_PROGRESS", "This account is being migrated between data centers.", "")
	case faultReset:
		c.hangUp(nil)
	default:
		return false
	}
	return true
}

// hangUp sends what is given, as it is, and closes the connection; with
// nothing to send it resets it.
func (c *call) hangUp(send []byte) {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		c.html(502, "502 Bad Gateway") // HTTP/2 and recorders cannot hang up
		return
	}
	if send == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	} else {
		_, _ = conn.Write(send)
	}
	_ = conn.Close()
}

// cut sends half of a body whose whole length was announced.
func (c *call) cut(status int, body []byte) {
	head := "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\nDate: " + c.header().Get("Date") +
		"\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	c.hangUp(append([]byte(head), body[:len(body)/2]...))
}
