//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

const benchToken = "token-of-the-benchmark"

// benchObjects are in each of the portals: eight streams, so eight ranges.
func benchObjects() []string { return []string{"contacts", "companies", "deals", "tickets"} }

// benchProcess is one of hubpipe's processes, by itself and measured from
// outside, so that measuring costs it nothing.
type benchProcess struct {
	b   *testing.B
	cmd *exec.Cmd
	log string
}

func (r *benchRig) process(args ...string) *benchProcess {
	r.b.Helper()
	p := &benchProcess{b: r.b, log: filepath.Join(r.b.TempDir(), args[0]+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		r.b.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	p.cmd = exec.CommandContext(context.WithoutCancel(r.b.Context()), r.bin, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = r.dir, log, log
	p.cmd.Env = append(os.Environ(), "BENCH_TOKEN="+benchToken)
	if err := p.cmd.Start(); err != nil {
		r.b.Fatal(err)
	}
	r.b.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *benchProcess) end(s os.Signal) {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Signal(s) // it may have ended by itself
		_ = p.cmd.Wait()            // how it ends is the benchmark's doing
	}
}

// cpu is what the process has used since it began, in steps of 10 ms.
func (p *benchProcess) cpu() time.Duration {
	p.b.Helper()
	stat := p.proc("stat")
	_, rest, _ := strings.Cut(stat, ") ") // a name may hold blanks
	f := strings.Fields(rest)
	const user, system = 14 - 3, 15 - 3 // fields 14 and 15 of proc(5)
	if len(f) <= system {
		p.b.Fatalf("stat does not decode: %q", stat)
	}
	u, err1 := strconv.Atoi(f[user])
	s, err2 := strconv.Atoi(f[system])
	if err := errors.Join(err1, err2); err != nil {
		p.b.Fatal(err)
	}
	return time.Duration(u+s) * 10 * time.Millisecond
}

// memory gives fields of status, such as VmRSS, VmHWM and RssAnon, in MiB.
func (p *benchProcess) memory(field string) float64 {
	p.b.Helper()
	for line := range strings.Lines(p.proc("status")) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			kib, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				p.b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	p.b.Fatalf("status has no %s", field)
	return 0
}

func (p *benchProcess) proc(file string) string {
	p.b.Helper()
	out, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		log, _ := os.ReadFile(p.log)
		p.b.Fatalf("%v\n%s", err, log)
	}
	return string(out)
}

// benchRig is a simulator, a folder with a configuration, and a client.
type benchRig struct {
	b         *testing.B
	bin, dir  string
	simulator string
	sim       *benchProcess
	api       *client.Client
	portals   int
	records   int // of each stream
}

func newBenchRig(b *testing.B, bin string, portals, records int, flags ...string) *benchRig {
	b.Helper()
	r := &benchRig{b: b, bin: bin, dir: b.TempDir(), portals: portals, records: records}
	args := []string{"simulator", "--listen", "127.0.0.1:0", "--token", benchToken}
	for _, o := range benchObjects() {
		args = append(args, "--"+o, strconv.Itoa(records))
	}
	r.sim = r.process(append(args, flags...)...)
	r.await("the simulator's address", time.Minute, func() bool {
		log, err := os.ReadFile(r.sim.log)
		line, _, ok := strings.Cut(string(log), "\n")
		r.simulator = line
		return err == nil && ok
	})
	data := filepath.Join(r.dir, "data")
	text := fmt.Sprintf("data_dir = %q\nhttp { listen = \"127.0.0.1:0\" }\nbroker { listen = \"127.0.0.1:0\" }\ndefaults { interval = \"1h\" }\n", data)
	for n := range portals {
		text += fmt.Sprintf("portal \"p%d\" {\n  token = env(\"BENCH_TOKEN\")\n  base_url = %q\n}\n", n, r.simulator)
		for _, o := range benchObjects() {
			text += fmt.Sprintf("stream \"p%d_%s\" {\n  portal = \"p%d\"\n  object = %q\n}\n", n, o, n, o)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "hubpipe.hcl"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	r.api = client.New(client.Options{Addr: filepath.Join(data, "http.sock")})
	b.Cleanup(r.api.Close)
	return r
}

func (r *benchRig) total() int { return r.portals * len(benchObjects()) * r.records }

func (r *benchRig) streams() []string {
	var out []string
	for n := range r.portals {
		for _, o := range benchObjects() {
			out = append(out, fmt.Sprintf("p%d_%s", n, o))
		}
	}
	return out
}

// await polls often: what it waits for is measured.
func (r *benchRig) await(what string, limit time.Duration, f func() bool) {
	r.b.Helper()
	r.poll(what, 5*time.Millisecond, limit, f)
}

func (r *benchRig) poll(what string, every, limit time.Duration, f func() bool) {
	r.b.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !f(); <-tick.C {
		if time.Now().After(deadline) {
			r.b.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// daemon starts one and returns it with the time until it was ready.
func (r *benchRig) daemon() (*benchProcess, time.Duration) {
	r.b.Helper()
	begun := time.Now()
	p := r.process("daemon")
	r.await("the daemon", time.Minute, func() bool { return r.api.Ready(r.b.Context()) == nil })
	return p, time.Since(begun)
}

// synced tells whether the first run of every stream is done.
func (r *benchRig) synced() bool {
	ss, err := r.api.Streams(r.b.Context())
	if err != nil {
		r.b.Fatal(err)
	}
	for _, s := range ss {
		if s.Error != nil {
			r.b.Fatalf("stream %s: %v", s.Name, s.Error)
		}
		if s.LastRun == nil || s.LastRun.State != client.RunDone || s.Records != uint64(r.records) {
			return false
		}
	}
	return len(ss) == len(r.streams())
}

// benchStats is what the simulator counts.
type benchStats struct {
	Total   int64            `json:"total"`
	Refused map[string]int64 `json:"refused"`
}

func (r *benchRig) stats() benchStats {
	r.b.Helper()
	var out benchStats
	if err := json.Unmarshal(r.get("/_simulator/stats"), &out); err != nil {
		r.b.Fatal(err)
	}
	return out
}

func (r *benchRig) get(path string) []byte {
	r.b.Helper()
	b, err := r.fetch(path)
	if err != nil {
		r.b.Fatal(err)
	}
	return b
}

// fetch asks the simulator, as a bare client does.
func (r *benchRig) fetch(path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(r.b.Context(), http.MethodGet, r.simulator+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+benchToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // read to its end
	var body bytes.Buffer
	if _, err := body.ReadFrom(bufio.NewReader(res.Body)); err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, res.Status)
	}
	return body.Bytes(), nil
}

// disk is what the store's files take, as the file system counts it.
func (r *benchRig) disk() (total int64) {
	r.b.Helper()
	err := filepath.WalkDir(filepath.Join(r.dir, "data", "store"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a compaction has just removed it
		}
		if err != nil {
			return err
		}
		if st, ok := i.Sys().(*syscall.Stat_t); ok {
			total += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		r.b.Fatal(err)
	}
	return total
}
