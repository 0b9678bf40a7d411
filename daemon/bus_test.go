package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
)

// testBus is a bus that is not connected, before a loop that has not begun.
func testBus(t *testing.T) (*bus, *bytes.Buffer) {
	t.Helper()
	codec := new(protocol.Codec)
	var log bytes.Buffer
	b := newBus(protocol.Topics{Prefix: "hubpipe"}, codec, 15*time.Second, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}))
	b.loop = dispatch.NewLoop(dispatch.LoopOptions{Logger: hclog.NewNullLogger(), Send: b.send})
	return b, &log
}

func encoded(t *testing.T, b *bus, seq uint64) []byte {
	t.Helper()
	raw, err := b.codec.Encode(&protocol.Page{Store: "s", Epoch: 1, Process: "p1", Attempt: 3, Range: 2, Seq: seq, Kind: protocol.RecordsPage})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// busy takes the next message that leaves, which has to say busy to a page.
func busy(t *testing.T, b *bus, seq uint64) {
	t.Helper()
	select {
	case m := <-b.outbox:
		var a protocol.Answer
		if err := json.Unmarshal(m.payload, &a); err != nil {
			t.Fatal(err)
		}
		if m.topic != "hubpipe/workers/w/answers" || a.Type != protocol.Busy || a.Process != "p1" || a.Attempt != 3 || a.Range != 2 || a.Seq != seq {
			t.Fatalf("%s: %+v", m.topic, a)
		}
	default:
		t.Fatal("nobody is told")
	}
}

// A page that finds a queue full is dropped and answered busy, whichever queue
// it is.
func TestFullQueuesAnswerBusy(t *testing.T) {
	t.Parallel()
	b, _ := testBus(t)
	page := encoded(t, b, 7)
	for range intakeQueue {
		b.message("hubpipe/workers/w/pages", page, nil)
	}
	b.message("hubpipe/workers/w/pages", encoded(t, b, 8), nil)
	if len(b.intake) != intakeQueue || len(b.busy) != 1 {
		t.Fatalf("%d wait and %d are turned away", len(b.intake), len(b.busy))
	}
	b.turnAway(<-b.busy)
	busy(t, b, 8)
	for len(b.outbox) == 0 && len(b.intake) > 0 {
		b.page(<-b.intake) // to the ledger's queue, which nobody empties
	}
	busy(t, b, 7)
}

// Whatever the daemon sends to workers expires: commands and answers with the
// lease, what is said to each heartbeat with the next one, which is no loss.
func TestEverythingExpires(t *testing.T) {
	t.Parallel()
	b, _ := testBus(t)
	for _, c := range []struct {
		out    dispatch.Out
		qos    byte
		expiry time.Duration
	}{
		{dispatch.Out{Worker: "w", Command: &protocol.Command{Type: protocol.FetchCommand}}, 1, 15 * time.Second},
		{dispatch.Out{Worker: "w", Command: &protocol.Command{Type: protocol.CancelCommand}}, 1, 15 * time.Second},
		{dispatch.Out{Worker: "w", Answer: &protocol.Answer{Type: protocol.Committed}}, 1, 15 * time.Second},
		{dispatch.Out{Worker: "w", Answer: &protocol.Answer{Type: protocol.Displaced}}, 1, 15 * time.Second},
		{dispatch.Out{Worker: "w", Answer: &protocol.Answer{Type: protocol.Seen}}, 0, 3 * time.Second},
	} {
		b.send(c.out)
		if m := <-b.outbox; m.qos != c.qos || m.expiry != c.expiry || m.retain {
			t.Errorf("%s: QoS %d, %s, retained %t; want %d, %s", m.payload, m.qos, m.expiry, m.retain, c.qos, c.expiry)
		}
	}
}

// A page that names nobody is said once for all that come like it.
func TestPagesThatDoNotDecode(t *testing.T) {
	t.Parallel()
	b, log := testBus(t)
	for range 5 {
		b.message("hubpipe/workers/w/pages", []byte("no page"), nil)
		b.page(<-b.intake)
	}
	b.message("hubpipe/workers/other/pages", []byte("no page"), nil)
	b.page(<-b.intake)
	if n := strings.Count(log.String(), "different versions"); n != 2 || len(b.outbox) != 0 {
		t.Errorf("said %d times, %d answers: %s", n, len(b.outbox), log)
	}
	b.message("hubpipe/workers/w/pages", encoded(t, b, 1), nil)
	b.page(<-b.intake)
	if !strings.Contains(log.String(), "lost=5") {
		t.Errorf("nobody is told how many: %s", log)
	}
}

// A page whose bytes say nothing is judged by what came beside them: it goes to
// the ledger, which refuses it by its reason. A name that is none names nobody.
func TestPagesThatAreNamed(t *testing.T) {
	t.Parallel()
	b, _ := testBus(t)
	page := protocol.Page{Store: "s", Epoch: 1, Process: "p1", Attempt: 3, Range: 2, Seq: 7}
	for _, payload := range [][]byte{[]byte("no page"), nil, encoded(t, b, 1)[:10]} {
		b.message("hubpipe/workers/w/pages", payload, page.Name())
		if p, err := b.read(<-b.intake); err == nil || p == nil || cmp.Diff(*p, page) != "" {
			t.Errorf("%q: %+v %v", payload, p, err)
		}
	}
	for _, name := range []string{"", "{}", "no name", `{"s":"s","p":"p1","a":-1}`, strings.Repeat(" ", 2000) + string(page.Name())} {
		b.message("hubpipe/workers/w/pages", []byte("no page"), []byte(name))
		if p, err := b.read(<-b.intake); p != nil || err == nil {
			t.Errorf("%.40q names %+v", name, p)
		}
	}
}

// What is larger than the broker takes comes in pieces, of several workers at
// once, and is one page when the last of them is there.
func TestPagesInPieces(t *testing.T) {
	t.Parallel()
	b, _ := testBus(t)
	page := encoded(t, b, 9)
	pieces := protocol.Cut(page, len(page)/3+20)
	if len(pieces) < 3 {
		t.Fatalf("%d pieces", len(pieces))
	}
	for _, worker := range []string{"v", "w"} {
		for _, p := range append(pieces[1:], pieces[1]) {
			b.message("hubpipe/workers/"+worker+"/pages", p, nil)
		}
	}
	if len(b.intake) != 0 || len(b.joins) != 2 {
		t.Fatalf("%d pages of %d senders", len(b.intake), len(b.joins))
	}
	b.message("hubpipe/workers/w/pages", pieces[0], nil)
	if raw := <-b.intake; raw.worker != "w" || !bytes.Equal(raw.payload, page) || len(b.joins) != 1 {
		t.Errorf("%s sent %d bytes; %d wait", raw.worker, len(raw.payload), len(b.joins))
	}
	for n := range 2 * joinedTopics {
		b.message(fmt.Sprintf("hubpipe/workers/v%d/pages", n), pieces[0], nil)
	}
	if len(b.joins) > joinedTopics {
		t.Errorf("pieces of %d senders are kept", len(b.joins))
	}
}

// Senders that broke off in the middle of a message do not keep others from being
// heard.
func TestPiecesThatNeverCame(t *testing.T) {
	t.Parallel()
	b, _ := testBus(t)
	whole := bytes.Repeat([]byte("x"), 1000)
	pieces := protocol.Cut(whole, 400)
	for i := range 10 * joinedTopics {
		if b.join(fmt.Sprint("gone ", i), pieces[0]) != nil {
			t.Fatal("a piece is taken for the whole")
		}
	}
	if len(b.joins) != joinedTopics {
		t.Errorf("%d senders are remembered", len(b.joins))
	}
	var got []byte
	for _, p := range pieces {
		got = b.join("w", p)
	}
	if !bytes.Equal(got, whole) {
		t.Errorf("%d bytes of %d", len(got), len(whole))
	}
}
