package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// sendBound is how long one message may take.
const sendBound = 20 * time.Second

// Target is where messages go: a webhook or a program.
type Target struct {
	// Webhook is a URL that takes a POST. It is a secret, and no error shows it.
	Webhook string
	// Plain sends the Message as JSON; else {"text": …} is sent, as Slack,
	// Mattermost and others take it.
	Plain bool
	// Exec is a program with its arguments, which gets the Message as JSON on
	// stdin.
	Exec []string
}

// Send delivers a message, once. A webhook has to answer with 2xx, a program to
// exit with 0.
func (t Target) Send(ctx context.Context, m *Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendBound)
	defer cancel()
	if len(t.Exec) > 0 {
		return t.run(ctx, m)
	}
	var v any = m
	if !t.Plain {
		v = map[string]string{"text": m.Text()}
	}
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.Webhook, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's address is no URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // the next message is minutes away, and nobody would wait for what keeps it open
	// Where it leads elsewhere, that place is not the one that was named.
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok { // its text has the address
			err = wrapped.Err
		}
		return fmt.Errorf("post to the webhook: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing was written
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if resp.StatusCode/100 != 2 {
		text := hide(string(said), req.URL)
		return fmt.Errorf("the webhook answers %d: %q", resp.StatusCode, text[:min(len(text), shownOutput)])
	}
	return nil
}

// hide takes out of an answer what it repeats of the address: "Cannot POST
// /services/T0/B0/…" is what many servers say of one that they do not know.
func hide(said string, address *url.URL) string {
	secrets := strings.FieldsFunc(address.Path+"/"+address.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) })
	for _, values := range address.Query() {
		secrets = append(secrets, values...)
	}
	// The longest first: one may begin another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range secrets {
		if len(secret) >= 6 {
			said = strings.ReplaceAll(said, secret, "[secret]")
		}
	}
	return said
}

func (t Target) run(ctx context.Context, m *Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	cmd := exec.CommandContext(ctx, t.Exec[0], t.Exec[1:]...) //nolint:gosec // the configuration names it
	cmd.Stdin = bytes.NewReader(append(body, '\n'))
	cmd.WaitDelay = time.Second
	// The daemon's own variables hold HubSpot's token.
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var out beginning
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %q", t.Exec[0], err, out)
	}
	return nil
}

// shownOutput is how many bytes of what a target says are shown.
const shownOutput = 200

// beginning keeps of a program's output what is shown of it.
type beginning []byte

func (b *beginning) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), shownOutput-len(*b))]...)
	return len(p), nil
}

// Text is the message for people, a line or two for each event.
func (m *Message) Text() string {
	var b strings.Builder
	if m.Test {
		fmt.Fprintf(&b, "hubpipe: a test of %s; messages arrive\n", m.Target)
	}
	for _, e := range m.Began {
		fmt.Fprintf(&b, "hubpipe: %s is %s since %s: %s", e.Subject, e.word(), e.Since.UTC().Format(time.RFC3339), e.Title)
		if e.Detail != "" {
			fmt.Fprintf(&b, " (%s)", e.Detail)
		}
		b.WriteByte('\n')
		if e.Hint != "" {
			fmt.Fprintf(&b, "  what to do: %s\n", e.Hint)
		}
	}
	for _, e := range m.Ended {
		fmt.Fprintf(&b, "hubpipe: %s is not %s any more, after %s\n", e.Subject, e.word(), e.Until.Sub(e.Since).Round(time.Second))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// word says a kind as it follows "is".
func (e Event) word() string {
	switch e.Kind {
	case Brake:
		return "braked"
	case Schema:
		return "short of properties"
	case Disk:
		return "unable to write"
	}
	return e.Kind
}
