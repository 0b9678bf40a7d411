package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limited starts one of the system's processes with few files that it may open.
func (s *system) limited(files int, env []string, args ...string) *process {
	s.t.Helper()
	return runWith(s.t, s.dir, "/bin/sh", env, append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files), s.bin}, args...)...)
}

// Too few files that may be open, and the start ends with one line that says
// what to raise, and nothing of damage; the store is as it was. Just enough, and
// everything works, however many connect and say nothing; with little memory,
// too.
func TestTortureScarce(t *testing.T) {
	t.Parallel()
	v := victimised(t)
	worker, daemon := v.worker(), v.ready()
	v.becomesEqual("contacts", "deals")
	worker.kill(syscall.SIGTERM)
	daemon.kill(syscall.SIGTERM)
	for _, files := range []int{8, 11, 14, 20, 30, 40, 60} {
		p := v.limited(files, nil, "daemon")
		refused(t, p, 1, "files")
		if log := p.log.String(); strings.Contains(log, "damaged") || strings.Contains(log, "restore") {
			t.Errorf("with %d files it says:\n%s", files, log)
		}
		v.faults++
	}
	if d, sick := v.doctor(); sick {
		t.Errorf("the doctor finds %v", d.Findings)
	}
	little := []string{"GOMEMLIMIT=40MiB", "GOGC=40"}
	const files = 110
	daemon = v.limited(files, little, "daemon")
	daemon.says(t, "few files may be open", "ready: http=")
	v.http, v.mqtt = "http://"+daemon.field(t, "http"), daemon.field(t, "mqtt")
	worker = v.limited(48, little, "worker")
	silent := v.crowd(120)
	for range often(6, 60) {
		v.happens()
		v.pause(500 * time.Millisecond)
		v.change("contacts", `{"change":200,"create":5}`)
		if n := daemon.descriptors(t); n > files {
			t.Errorf("%v files are open", n)
		}
	}
	if out, err := v.hubpipe("status"); err != nil {
		t.Errorf("status by the socket, in a crowd: %v %s", err, out)
	}
	if code, body := v.curl(http.MethodGet, "/healthz", ""); code != http.StatusOK {
		t.Errorf("HTTP in a crowd: %d %s", code, body)
	}
	for _, c := range silent {
		_ = c.Close() // most have been closed
	}
	v.faults += len(silent)
	v.exact(50, 1800)
	for _, p := range []*process{worker, daemon} {
		p.kill(syscall.SIGTERM)
		if code := p.exit(t); code != 0 {
			t.Errorf("exit %d:\n%s", code, tail(p.log.String()))
		}
		if strings.Contains(p.log.String(), "too many open files") {
			t.Errorf("it ran out of files:\n%s", tail(p.log.String()))
		}
	}
}

// crowd are connections to HTTP and MQTT on which nothing is said.
func (v *victim) crowd(n int) (silent []net.Conn) {
	v.t.Helper()
	var d net.Dialer
	for i := range n {
		addr := strings.TrimPrefix(v.http, "http://")
		if i%2 == 0 {
			addr = v.mqtt
		}
		c, err := d.DialContext(v.t.Context(), "tcp", addr)
		if err != nil {
			v.t.Fatal(err)
		}
		silent = append(silent, c)
	}
	return silent
}
