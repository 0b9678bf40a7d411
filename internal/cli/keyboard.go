package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// keyboard is the terminal that a person types at, nil where there is none.
func (c *command) keyboard() *os.File {
	if f, ok := c.env.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// hidden asks for a line that is not shown, at the keyboard that there is. A
// signal ends it, with the terminal as it was.
func (c *command) hidden(ctx context.Context, prompt string) (string, error) {
	fd := int(c.keyboard().Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read the terminal: %w", err)
	}
	fmt.Fprint(c.env.Stderr, prompt)
	line, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	fmt.Fprintln(c.env.Stderr)
	if ctx.Err() != nil {
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
	if err != nil {
		return "", fmt.Errorf("read the terminal: %w", err)
	}
	return string(line), nil
}

// confirms asks; Enter alone is a yes.
func (c *command) confirms(ctx context.Context, question string) (bool, error) {
	fmt.Fprint(c.env.Stderr, question)
	line, err := await(ctx, func() ([]byte, error) {
		var b []byte
		for one := make([]byte, 1); ; b = append(b, one[0]) {
			if n, err := c.env.Stdin.Read(one); n == 0 || err != nil || one[0] == '\n' {
				return b, err
			}
		}
	})
	if err != nil {
		return false, fmt.Errorf("read the terminal: %w", err)
	}
	answer := strings.ToLower(strings.TrimSpace(string(line)))
	return answer == "" || answer == "y" || answer == "yes", nil
}

// await reads from a keyboard, which nothing interrupts: when ctx ends the reader
// is left to the end of the process, which is near.
func await(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	type typed struct {
		text []byte
		err  error
	}
	got := make(chan typed, 1)
	go func() {
		b, err := read()
		got <- typed{b, err}
	}()
	select {
	case l := <-got:
		return l.text, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
