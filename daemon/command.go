package daemon

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api"
	"github.com/hubpipe/hubpipe/daemon/stream"
)

// Command is what someone asks on the control topic, in words or as JSON.
type Command struct {
	ID       string `json:"id,omitempty"`
	Action   string `json:"action"`
	Stream   string `json:"stream,omitempty"`
	Interval string `json:"interval,omitempty"`
	Record   string `json:"record,omitempty"`
	// AcceptDeletes lets a reconcile end however many records.
	AcceptDeletes bool `json:"accept_deletes,omitempty"`
}

// digest names what a command asks for, whatever its id and its form.
func (c Command) digest() (string, error) {
	c.ID = ""
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("name a command: %w", err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), nil
}

// changes tells whether a command does something. One that only asks needs no
// memory: whoever asks again is answered anew.
func (c Command) changes() bool { return c.Action != "status" }

// allStreams is the name under which a command means every stream.
const allStreams = "all"

// maxCommand bounds a command; nothing that is understood comes near it.
const maxCommand = 4 << 10

// grammar is what would have been right.
const grammar = `start STREAM [every 5m], stop STREAM, sync STREAM [record ID], resync STREAM, reconcile STREAM [accept deletes], status [STREAM]; STREAM may be "all". ` +
	`As JSON: {"action":"start","stream":"contacts","interval":"5m","id":"…"}`

func badCommand(format string, args ...any) *stream.Problem {
	return &stream.Problem{Type: "bad-command", Title: "that is not a command", Status: 400,
		Detail: fmt.Sprintf(format, args...), Hint: "understood are: " + grammar}
}

// ParseCommand reads a command. What is wrong with one comes as a
// *stream.Problem that says what would be right; the id is returned with it
// where there was one, so that its sender knows the answer.
func ParseCommand(payload []byte) (Command, error) {
	if len(payload) > maxCommand {
		return Command{}, badCommand("it has %d bytes, more than %d", len(payload), maxCommand)
	}
	text := bytes.TrimSpace(payload)
	if len(text) == 0 {
		return Command{}, badCommand("it is empty")
	}
	var c Command
	var err error
	if text[0] == '{' {
		c, err = parseJSON(text)
	} else {
		c, err = parseWords(strings.Fields(string(text)))
	}
	if err != nil {
		return c, err
	}
	return c, c.check()
}

func parseJSON(text []byte) (Command, error) {
	// What is there and empty is a mistake, as in the bodies of HTTP; what is not
	// there, or null, is left out.
	var said struct {
		ID            string  `json:"id"`
		Action        string  `json:"action"`
		Stream        string  `json:"stream"`
		Interval      *string `json:"interval"`
		Record        *string `json:"record"`
		AcceptDeletes bool    `json:"accept_deletes"`
	}
	if wrong := api.DecodeObject(text, &said); wrong != "" {
		// The id is wanted even where the rest is wrong.
		var only struct {
			ID string `json:"id"`
		}
		_ = json.NewDecoder(bytes.NewReader(text)).Decode(&only)
		return Command{ID: only.ID}, badCommand("%s", wrong)
	}
	c := Command{ID: said.ID, Action: said.Action, Stream: said.Stream, AcceptDeletes: said.AcceptDeletes}
	if said.Interval != nil {
		if c.Interval = strings.TrimSpace(*said.Interval); c.Interval == "" {
			return c, stream.BadInterval("the interval is empty")
		}
	}
	if said.Record != nil {
		c.Record = strings.TrimSpace(*said.Record)
		if p := stream.BadRecord(c.Record); p != nil {
			return c, p
		}
	}
	return c, nil
}

func parseWords(words []string) (Command, error) {
	c := Command{Action: strings.ToLower(words[0])}
	rest := words[1:]
	if len(rest) > 0 {
		c.Stream, rest = rest[0], rest[1:]
	}
	if len(rest) == 0 {
		return c, nil
	}
	is := func(n int, word string) bool { return len(rest) > n && strings.EqualFold(rest[n], word) }
	used := 2
	switch {
	case c.Action == "start" && is(0, "every"):
		if len(rest) < 2 {
			return c, badCommand(`an interval is missing after "every", such as 5m`)
		}
		c.Interval = rest[1]
	case c.Action == "sync" && is(0, "record"):
		if len(rest) < 2 {
			return c, badCommand(`an id is missing after "record", such as 123`)
		}
		c.Record = rest[1]
	case c.Action == "reconcile" && is(0, "accept"):
		if len(rest) < 2 {
			return c, badCommand(`"deletes" is missing after "accept"`)
		}
		if c.AcceptDeletes = is(1, "deletes"); !c.AcceptDeletes {
			used = 0
		}
	default:
		used = 0
	}
	if len(rest) > used {
		before := strings.Join(words[:len(words)-len(rest)+used], " ")
		return c, badCommand("%q does not belong after %q", api.Clip(strings.Join(rest[used:], " ")), api.Clip(before))
	}
	return c, nil
}

// check holds a command against what each action takes.
func (c Command) check() error {
	switch c.Action {
	case "start", "stop", "sync", "resync", "reconcile":
		if c.Stream == "" {
			return badCommand("%q needs the name of a stream", c.Action)
		}
	case "status":
	default:
		return badCommand("%q is not an action", api.Clip(c.Action))
	}
	if c.Interval != "" && c.Action != "start" {
		return badCommand("%q takes no interval", c.Action)
	}
	if c.AcceptDeletes && c.Action != "reconcile" {
		return badCommand("%q accepts no deletes", c.Action)
	}
	if c.Record == "" {
		return nil
	}
	if c.Action != "sync" {
		return badCommand("%q takes no record", c.Action)
	}
	if c.Stream == allStreams {
		return stream.RecordOfAll()
	}
	if p := stream.BadRecord(c.Record); p != nil {
		return p
	}
	return nil
}
