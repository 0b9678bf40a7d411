package stream

import "slices"

// Property is one property definition of HubSpot.
type Property struct {
	Name       string `json:"name"`
	Label      string `json:"label,omitempty"`
	Type       string `json:"type"`
	FieldType  string `json:"fieldType,omitempty"`
	Group      string `json:"groupName,omitempty"`
	Calculated bool   `json:"calculated,omitempty"`
	Sensitive  bool   `json:"sensitive,omitempty"`
	// Options are the values of an enumeration, in HubSpot's order; Unlisted says
	// that there are some, and too many to be kept.
	Options  []Option `json:"options,omitempty"`
	Unlisted bool     `json:"unlisted,omitempty"`
}

// Option is a value that a property may have.
type Option struct {
	Value  string `json:"value"`
	Label  string `json:"label"`
	Hidden bool   `json:"hidden,omitempty"`
}

// Choice is which properties a configuration asks for, by patterns over their
// names. It is replaced, never changed in place.
type Choice struct {
	Properties []string `json:"properties,omitempty"`
	Exclude    []string `json:"exclude,omitempty"`
}

// HistoryChoice is of which properties a stream keeps the earlier values: of
// those of its properties that match Of. All are patterns, as in the
// configuration. It is replaced, never changed in place.
type HistoryChoice struct {
	Of         []string `json:"of"`
	Properties []string `json:"properties,omitempty"`
	Exclude    []string `json:"exclude,omitempty"`
}

// Equal tells whether two choices are written the same; nil is none.
func (h *HistoryChoice) Equal(other *HistoryChoice) bool {
	if h == nil || other == nil {
		return h == other
	}
	return slices.Equal(h.Of, other.Of) && slices.Equal(h.Properties, other.Properties) && slices.Equal(h.Exclude, other.Exclude)
}

// Within tells whether a choice surely has nothing that other has not, so that
// what was read by the other will do.
func (h *HistoryChoice) Within(other *HistoryChoice) bool {
	switch {
	case h == nil:
		return true
	case other == nil:
		return false
	}
	return within(h.Of, other.Of) && within(h.Properties, other.Properties) && within(other.Exclude, h.Exclude)
}

// within tells whether all patterns are among others; "*" is all there are.
func within(patterns, others []string) bool {
	if slices.Contains(others, "*") {
		return true
	}
	for _, p := range patterns {
		if !slices.Contains(others, p) {
			return false
		}
	}
	return true
}
