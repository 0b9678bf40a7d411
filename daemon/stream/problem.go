package stream

// Problem is why something does not work, in the words of problem+json: what
// happened (Detail) and what to do about it (Hint). It never holds a secret.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
	// Blocked says that a person has to act before another try makes sense.
	Blocked bool `json:"blocked,omitempty"`
}

// Error makes a Problem an error: its title and detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// BadRecord is the problem of text that should be the id of a record, nil where
// it may be one.
func BadRecord(id string) *Problem {
	wrong := CheckID(id)
	if wrong == "" {
		return nil
	}
	return &Problem{Type: "bad-record", Title: "that is not a record", Status: 400, Detail: wrong,
		Hint: "an id is what HubSpot shows in the record's address, such as 123"}
}

// RecordOfAll is the problem of a command that names a record and no stream
// that has it.
func RecordOfAll() *Problem {
	return &Problem{Type: "bad-record", Title: "that is not a record", Status: 400,
		Detail: "a record belongs to one stream", Hint: "name the stream that has the record instead of all"}
}

// BadInterval is the problem of text that is no interval.
func BadInterval(detail string) *Problem {
	return &Problem{Type: "bad-interval", Title: "that is not an interval", Status: 400, Detail: detail,
		Hint: "an interval is a duration of at least 1s, such as 30s, 5m or 2h; leave it out for the configured one"}
}
