package config

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound says that there is no configuration: no file where one is looked
// for, and no HUBSPOT_TOKEN.
var ErrNotFound = errors.New("no configuration")

// Severity says what a diagnostic stops.
type Severity int

const (
	// Invalid is a mistake: nothing starts with this configuration.
	Invalid Severity = iota
	// Blocked is a value that is missing outside the file (a variable that is
	// not set): its portal or destination is blocked, all else runs.
	Blocked
	// Warning is something that works and is hardly meant so.
	Warning
)

// Diagnostic is one thing to mend. No field ever holds the text of a secret.
type Diagnostic struct {
	Severity Severity
	// File is the path as it was given; Line counts from 1, 0 for none.
	File string
	Line int
	// Summary says in one line what is wrong.
	Summary string
	// Hint says what to do, "" where the summary says it.
	Hint string
	// Excerpt is the line itself, with secrets masked.
	Excerpt string
}

// String writes it as `check` shows it: file and line, the summary, the line
// itself, the hint. It has no line break at its end.
func (d Diagnostic) String() string {
	var b strings.Builder
	switch {
	case d.File != "" && d.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", d.File, d.Line)
	case d.File != "":
		fmt.Fprintf(&b, "%s: ", d.File)
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(d.Summary)
	if d.Excerpt != "" {
		fmt.Fprintf(&b, "\n  %4d | %s", d.Line, d.Excerpt)
	}
	if d.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", d.Hint)
	}
	return b.String()
}

// Diagnostics is everything that is to be mended, by file and line.
type Diagnostics []Diagnostic

// String writes them one below the other, an empty line between.
func (d Diagnostics) String() string {
	out := make([]string, len(d))
	for i := range d {
		out[i] = d[i].String()
	}
	return strings.Join(out, "\n\n")
}

// Invalid returns those that keep everything from starting.
func (d Diagnostics) Invalid() Diagnostics { return d.only(Invalid) }

// Blocked returns those that block one portal or destination.
func (d Diagnostics) Blocked() Diagnostics { return d.only(Blocked) }

func (d Diagnostics) only(s Severity) Diagnostics {
	var out Diagnostics
	for _, x := range d {
		if x.Severity == s {
			out = append(out, x)
		}
	}
	return out
}

// InvalidError is a configuration with mistakes; its text is all of them.
type InvalidError struct{ Diagnostics Diagnostics }

// Error returns how many mistakes there are, and each as Diagnostic.String has
// it.
func (e *InvalidError) Error() string {
	n := "1 mistake"
	if len(e.Diagnostics) != 1 {
		n = fmt.Sprintf("%d mistakes", len(e.Diagnostics))
	}
	return fmt.Sprintf("the configuration has %s:\n\n%s", n, e.Diagnostics)
}

// nearest returns the candidate that name was probably meant to be, "" when
// none is near.
func nearest(name string, candidates []string) string {
	if len(name) > 64 {
		return ""
	}
	best, bestDistance := "", 3
	if len(name) < 5 {
		bestDistance = 2
	}
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), c); d < bestDistance ||
			best == "" && len(name) >= 3 && (strings.HasPrefix(c, name) || strings.HasPrefix(name, c)) {
			best, bestDistance = c, min(d, bestDistance)
		}
	}
	return best
}

// distance is how many letters have to be added, dropped, changed or swapped
// with their neighbour to make b of a.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	last, next := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(last[j+1]+1, next[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, last, next = last, next, before
	}
	return last[len(b)]
}

// didYouMean is the hint for an unknown name: the nearest known one, else all.
func didYouMean(name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	switch len(known) {
	case 0:
		return ""
	case 1:
		return "there is " + known[0]
	}
	return "there are " + strings.Join(known, ", ")
}
