package config

import (
	"crypto/subtle"
	"fmt"
	"io"
)

// masked stands for a secret wherever it is printed.
const masked = "[secret]"

// Secret is text that no output shows: whatever prints, logs or encodes it
// gets "[secret]", and "" for the zero value. The text hides behind a pointer,
// so that a struct that keeps a Secret in an unexported field, where fmt finds
// no methods, shows an address at most.
type Secret struct{ text *string }

// NewSecret returns text as a Secret; "" makes the zero value.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text itself, for the one place that sends it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal reports whether both hold the same text, in time that does not depend
// on where they differ.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String returns "[secret]", or "" for the zero value.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return masked
}

// GoString returns what String returns.
func (s Secret) GoString() string { return s.String() }

// Format writes what String returns, whatever the verb and its flags.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText returns what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns what String returns, as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }
