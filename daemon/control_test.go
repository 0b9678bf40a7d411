package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/hubpipe/hubpipe/broker/protocol"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/dispatch"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// answered is what a command is answered with.
func answered(t *testing.T, c *control, command []byte) Answer {
	t.Helper()
	b, err := c.answer(t.Context(), request{payload: command})
	if err != nil {
		t.Fatal(err)
	}
	a, err := protocol.Unmarshal[Answer](b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What was done is known after a restart; what failed inside is tried again.
func TestCommandsAreKnownAfterARestart(t *testing.T) {
	t.Parallel()
	var kept []*stream.Answered
	var fail error
	done := 0
	begin := func() *control {
		c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(context.Context, Command) (outcome, error) {
			done++
			return outcome{run: "r1"}, fail
		}, time.Now, hclog.NewNullLogger())
		c.recall(kept)
		c.keep = func(_ context.Context, answers []*stream.Answered, _ []string) error {
			kept = append(kept, answers...)
			return nil
		}
		return c
	}
	command := []byte(`{"action":"sync","stream":"contacts","id":"7"}`)
	fail = errors.New("disk")
	if a := answered(t, begin(), command); a.OK || a.Error.Status != 500 || len(kept) != 0 {
		t.Fatalf("a failure inside is remembered: %+v", a)
	}
	fail = nil
	answered(t, begin(), command)
	if a := answered(t, begin(), command); !a.OK || a.Run != "r1" || done != 2 {
		t.Errorf("done %d times: %+v", done, a)
	}
}

// An id belongs to the command that came under it first: another one is not
// answered with what became of that.
func TestAnIDIsOfOneCommand(t *testing.T) {
	t.Parallel()
	var done []string
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(_ context.Context, cmd Command) (outcome, error) {
		done = append(done, cmd.Action)
		return outcome{run: "r1"}, nil
	}, time.Now, hclog.NewNullLogger())
	first := answered(t, c, []byte(`{"action":"start","stream":"contacts","interval":"5m","id":"7"}`))
	if again := answered(t, c, []byte(`{"id":"7","interval":"5m", "stream":"contacts","action":"start"}`)); !cmp.Equal(first, again) || len(done) != 1 {
		t.Errorf("the same command, written otherwise: %+v after %+v", again, first)
	}
	for _, other := range []string{
		`{"action":"stop","stream":"contacts","id":"7"}`, `{"action":"start","stream":"deals","interval":"5m","id":"7"}`,
		`{"action":"start","stream":"contacts","id":"7"}`,
	} {
		a := answered(t, c, []byte(other))
		if a.OK || a.ID != "7" || a.Run != "" || a.Error == nil || a.Error.Type != "id-used" || a.Error.Status != 409 || len(done) != 1 {
			t.Errorf("%s: %+v", other, a)
		}
	}
	if a := answered(t, c, []byte(`{"action":"start","stream":"contacts","interval":"5m","id":"7"}`)); !cmp.Equal(a, first) {
		t.Errorf("the first command again: %+v", a)
	}
	// What was no command has used no id.
	answered(t, c, []byte(`{"action":"strat","stream":"contacts","id":"8"}`))
	if a := answered(t, c, []byte(`{"action":"stop","stream":"contacts","id":"8"}`)); !a.OK || len(done) != 2 {
		t.Errorf("a command that was mistyped before: %+v", a)
	}
	// One that was kept before there were digests counts as it did.
	c.recall([]*stream.Answered{{ID: "9", At: time.Now(), Answer: []byte(`{"ok":true,"id":"9"}`)}})
	if a := answered(t, c, []byte(`{"action":"stop","stream":"contacts","id":"9"}`)); !a.OK || len(done) != 2 {
		t.Errorf("an old answer: %+v", a)
	}
}

func TestRefusedAsRetainedMayComeAgain(t *testing.T) {
	t.Parallel()
	done := 0
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(context.Context, Command) (outcome, error) {
		done++
		return outcome{run: "r1"}, nil
	}, time.Now, hclog.NewNullLogger())
	command := []byte(`{"action":"sync","stream":"contacts","id":"7"}`)
	payload, err := c.answer(t.Context(), request{payload: command, retained: true})
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if err := json.Unmarshal(payload, &a); err != nil {
		t.Fatal(err)
	}
	if a.OK || a.ID != "7" || a.Action != "sync" || a.Error == nil || a.Error.Status != 400 || done != 0 {
		t.Errorf("retained, done %d times: %+v", done, a)
	}
	for range 2 {
		if a := answered(t, c, command); !a.OK || a.Run != "r1" || done != 1 {
			t.Errorf("as it should, %d times: %+v", done, a)
		}
	}
	c.now = func() time.Time { return time.Now().Add(stream.AnswersFor + time.Hour) }
	if answered(t, c, command); done != 2 {
		t.Error("an id is remembered for ever")
	}
}

func TestOldestCommandsAreForgotten(t *testing.T) {
	t.Parallel()
	done := map[string]int{}
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(_ context.Context, cmd Command) (outcome, error) {
		done[cmd.ID]++
		return outcome{}, nil
	}, time.Now, hclog.NewNullLogger())
	send := func(n int) {
		b, err := json.Marshal(Command{Action: "stop", Stream: "contacts", ID: time.Duration(n).String()})
		if err != nil {
			t.Fatal(err)
		}
		answered(t, c, b)
	}
	for n := range stream.MostAnswers + 1 {
		send(n)
	}
	send(1)
	send(0)
	if done["1ns"] != 1 || done["0s"] != 2 || len(c.order) != stream.MostAnswers || len(c.answered) != stream.MostAnswers {
		t.Errorf("%d %d %d %d", done["1ns"], done["0s"], len(c.order), len(c.answered))
	}
}

// Whoever only asks how things stand, each time under an id of its own, pushes no
// command out of those that are remembered: nothing of it is kept, and the same
// again is answered with how things stand then.
func TestWhatOnlyAsksIsNotRemembered(t *testing.T) {
	t.Parallel()
	done := map[string]int{}
	kept := 0
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(_ context.Context, cmd Command) (outcome, error) {
		done[cmd.Action]++
		return outcome{status: client.Status{Failures: done["status"]}}, nil
	}, time.Now, hclog.NewNullLogger())
	c.keep = func(context.Context, []*stream.Answered, []string) error {
		kept++
		return nil
	}
	command := []byte(`{"action":"sync","stream":"contacts","id":"7"}`)
	answered(t, c, command)
	for n := range stream.MostAnswers {
		if a := answered(t, c, fmt.Appendf(nil, `{"action":"status","id":"s%d"}`, n)); !a.OK {
			t.Fatalf("%+v", a)
		}
	}
	if answered(t, c, command); done["sync"] != 1 || kept != 1 || len(c.order) != 1 {
		t.Errorf("done %d times; %d were kept, %d are remembered", done["sync"], kept, len(c.order))
	}
	first, again := answered(t, c, []byte(`{"action":"status","id":"s"}`)), answered(t, c, []byte(`{"action":"status","id":"s"}`))
	if cmp.Equal(first.Status, again.Status) {
		t.Errorf("asked again: %+v after %+v", again, first)
	}
	// An id that a command has used is that command's all the same, and one that
	// was only asked under is free.
	if a := answered(t, c, []byte(`{"action":"status","id":"7"}`)); a.OK || a.Error == nil || a.Error.Type != client.TypeIDUsed {
		t.Errorf("under the id of a command: %+v", a)
	}
	if a := answered(t, c, []byte(`{"action":"stop","stream":"contacts","id":"s"}`)); !a.OK || done["stop"] != 1 {
		t.Errorf("under the id of a question: %+v", a)
	}
}

// What is kept of answers is bounded, here and in the store: the oldest large ones
// go first, small ones stay. What became of them is not known any more, but they
// are not done again.
func TestLargeAnswersAreLetGo(t *testing.T) {
	t.Parallel()
	done, size := 0, 0
	kept := map[string]*stream.Answered{}
	begin := func(answers ...*stream.Answered) *control {
		c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(context.Context, Command) (outcome, error) {
			done++
			return outcome{run: "r1", status: strings.Repeat("x", size)}, nil
		}, time.Now, hclog.NewNullLogger())
		c.recall(answers)
		c.keep = func(_ context.Context, answers []*stream.Answered, forget []string) error {
			for _, id := range forget {
				delete(kept, id)
			}
			for _, a := range answers {
				kept[a.ID] = a
			}
			return nil
		}
		return c
	}
	command := func(id string) []byte { return fmt.Appendf(nil, `{"action":"stop","stream":"all","id":%q}`, id) }
	holds := func(c *control) {
		t.Helper()
		for what, answers := range map[string]map[string]*stream.Answered{"memory": c.answered, "the store": kept} {
			sum := 0
			for _, a := range answers {
				sum += stream.Large(len(a.Answer))
			}
			if sum > stream.LargeAnswers || sum < stream.LargeAnswers/2 {
				t.Errorf("%s has %d bytes of large answers, %d are counted", what, sum, c.large)
			}
		}
	}
	c := begin()
	answered(t, c, command("small"))
	size = 200 << 10
	const many = stream.LargeAnswers/(200<<10) + 10
	for n := range many {
		answered(t, c, command(fmt.Sprint("n", n)))
	}
	holds(c)
	size = stream.LargestAnswer
	answered(t, c, command("largest"))
	holds(c)
	again := func(c *control) {
		t.Helper()
		before := done
		for _, id := range []string{"small", fmt.Sprint("n", many-1)} {
			if a := answered(t, c, command(id)); !a.OK || a.Run != "r1" {
				t.Errorf("%s: %+v", id, a.Error)
			}
		}
		for _, id := range []string{"n0", "largest"} {
			if a := answered(t, c, command(id)); a.OK || a.ID != id || a.Error == nil || a.Error.Type != client.TypeAnswerGone || a.Error.Hint == "" {
				t.Errorf("%s: %+v", id, a)
			}
		}
		if a := answered(t, c, []byte(`{"action":"stop","stream":"deals","id":"n0"}`)); a.OK || a.Error.Type != client.TypeIDUsed {
			t.Errorf("another command under the id: %+v", a)
		}
		if done != before {
			t.Errorf("%d were done again", done-before)
		}
	}
	again(c)
	answers := slices.SortedFunc(maps.Values(kept), func(a, b *stream.Answered) int { return a.At.Compare(b.At) })
	again(begin(answers...))
	// What an older hubpipe has kept of them is too much.
	for _, a := range answers {
		a.Gone, a.Answer = false, append([]byte(`{"ok":true,"run":"r1","status":"`), strings.Repeat("x", 200<<10)+`"}`...)
	}
	c = begin(answers...)
	answered(t, c, command("next"))
	holds(c)
}

func TestWhereAnswersMayGo(t *testing.T) {
	t.Parallel()
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, nil, time.Now, hclog.NewNullLogger())
	for asked, want := range map[string]string{
		"":                            "hubpipe/control/response",
		"hubpipe/control/response":    "hubpipe/control/response",
		"hubpipe/control/response/me": "hubpipe/control/response/me",
		"mine":                        "mine",
		"hubpipe2/x":                  "hubpipe2/x",
		"hubpipe":                     "",
		"hubpipe/control":             "",
		"hubpipe/workers/w/pages":     "",
		"hubpipe/status":              "",
		"$SYS/x":                      "",
		"mine/+":                      "",
		"#":                           "",
	} {
		if got, ok := c.responseTopic(asked); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", asked, got, ok)
		}
	}
}

// What is wrong is said as over HTTP, and an error that nobody expected keeps
// its words for the log.
func TestErrorsBecomeProblems(t *testing.T) {
	t.Parallel()
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, nil, time.Now, hclog.NewNullLogger())
	for _, x := range []struct {
		err    error
		typ    string
		status int
	}{
		{&stream.Problem{Type: "unknown-stream", Status: 404, Hint: "x"}, client.TypeUnknownStream, 404},
		{fmt.Errorf("sync: %w", dispatch.ErrStopped), client.TypeStopping, 503},
		{fmt.Errorf("sync: %w", store.ErrFull), client.TypeDiskFull, 507},
		{context.DeadlineExceeded, client.TypeTimeout, 504},
		{errors.New("open /secret/path"), client.TypeInternal, 500},
	} {
		p := c.problem(Command{Action: "sync"}, x.err)
		if p.Type != x.typ || p.Status != x.status || p.Hint == "" || strings.Contains(p.Detail, "secret") {
			t.Errorf("%v: %+v", x.err, p)
		}
	}
}

// A good answer has a status, a bad one an error and nothing else.
func TestABadAnswerHasNoStatus(t *testing.T) {
	t.Parallel()
	c := newControl(protocol.Topics{Prefix: "hubpipe"}, func(context.Context, Command) (outcome, error) {
		return outcome{run: "r1", status: client.Status{Name: "x"}}, &stream.Problem{Type: "unknown-stream", Status: 404}
	}, time.Now, hclog.NewNullLogger())
	if a := answered(t, c, []byte("status x")); a.OK || a.Run != "" || a.Status != nil || a.Error == nil {
		t.Errorf("%+v", a)
	}
}
