package hubspot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

// ErrNotFound says that HubSpot knows no record of that id.
var ErrNotFound = errors.New("hubspot has no such record")

// ErrDoesNotAddUp says that search contradicts itself: the halves of a window
// hold less than the whole, however often they are measured. The window has
// to be read by list instead.
var ErrDoesNotAddUp = errors.New("the parts of a search window do not add up to the whole")

// The bounds that a caller inside this package reacts to.
var (
	errTooLong  = errors.New("address too long for HubSpot (414)")
	errTooLarge = errors.New("reply above the bound")
	errWithheld = errors.New("HubSpot does not hand out what was asked for besides")
)

// Blocked says that a person has to act before HubSpot can be read. Type
// is "token", "scope", "not-available", "no-associations" or "too-many". No part of
// it shows a token.
type Blocked struct {
	Type   string
	Detail string
	Hint   string
}

func (e *Blocked) Error() string { return e.Detail }

// Failing says that HubSpot refused a request for a reason that waiting
// does not mend, or answered what cannot be used. Status is 0 where no status
// was the reason.
type Failing struct {
	Status int
	Detail string
}

func (e *Failing) Error() string { return e.Detail }

// refused tells whether HubSpot does not know what was asked for, or calls it
// wrong: where nothing but names was sent, one of them.
func refused(err error) bool {
	f, ok := errors.AsType[*Failing](err)
	return ok && (f.Status == http.StatusBadRequest || f.Status == http.StatusNotFound || f.Status == http.StatusGone)
}

// envelope is the body of an error; every field is optional.
type envelope struct {
	Message     string `json:"message"`
	Category    string `json:"category"`
	ErrorType   string `json:"errorType"`
	PolicyName  string `json:"policyName"`
	Correlation string `json:"correlationId"`
	Errors      []struct {
		Message string                     `json:"message"`
		Context map[string]json.RawMessage `json:"context"`
	} `json:"errors"`
	Context map[string]json.RawMessage `json:"context"`
}

// parseEnvelope reads what it can; anything else gives an empty envelope.
func parseEnvelope(body []byte) envelope {
	var e envelope
	if json.Unmarshal(body, &e) != nil {
		// One field of another type must not hide the others.
		var m map[string]json.RawMessage
		if json.Unmarshal(body, &m) != nil {
			return envelope{}
		}
		e = envelope{}
		_ = json.Unmarshal(m["message"], &e.Message)
		_ = json.Unmarshal(m["category"], &e.Category)
		_ = json.Unmarshal(m["policyName"], &e.PolicyName)
		_ = json.Unmarshal(m["errors"], &e.Errors)
	}
	return e
}

// scopes returns the scopes that an error names as missing, each once.
func (e envelope) scopes() []string {
	var all []string
	add := func(context map[string]json.RawMessage) {
		for _, key := range []string{"requiredGranularScopes", "requiredScopes"} {
			var names []string
			if json.Unmarshal(context[key], &names) == nil {
				all = append(all, names...)
			}
		}
	}
	add(e.Context)
	for _, one := range e.Errors {
		add(one.Context)
	}
	for i := range all {
		all[i] = shown(all[i], 100)
	}
	all = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	slices.Sort(all)
	return slices.Compact(all)
}

// words returns an error's message for a log line.
func (e envelope) words() string { return shown(e.Message, 300) }

// shown is what HubSpot says as it may stand in a line, of so many bytes at most:
// where it is read, on a terminal for one, it moves and hides nothing.
func shown(said string, most int) string {
	said = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.Join(strings.Fields(said), " "))
	if len(said) > most {
		said = strings.ToValidUTF8(said[:most], "") + "…"
	}
	return said
}

func (e envelope) failing(status int) *Failing {
	detail := fmt.Sprintf("HubSpot refused the request with status %d", status)
	if words := e.words(); words != "" {
		detail += ": " + words
	}
	if id := shown(e.Correlation, 64); id != "" {
		detail += " (correlation " + id + ")"
	}
	return &Failing{Status: status, Detail: detail}
}

func (e envelope) daily() bool {
	return e.PolicyName == "DAILY" || strings.Contains(strings.ToLower(e.Message), "daily limit")
}

func (e envelope) secondly() bool {
	return e.PolicyName == "SECONDLY" || strings.Contains(strings.ToLower(e.Message), "secondly limit") && !strings.Contains(strings.ToLower(e.Message), "ten")
}
