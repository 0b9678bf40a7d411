package stream

// Requests counts requests by stream and kind of work.
type Requests map[string]map[string]uint64

// Add adds other to r.
func (r Requests) Add(other Requests) {
	r.each(other, func(a, b uint64) uint64 { return a + b })
}

// Raise makes each count of r at least other's.
func (r Requests) Raise(other Requests) {
	r.each(other, func(a, b uint64) uint64 { return max(a, b) })
}

func (r Requests) each(other Requests, f func(a, b uint64) uint64) {
	for name, kinds := range other {
		if r[name] == nil {
			r[name] = map[string]uint64{}
		}
		for kind, n := range kinds {
			r[name][kind] = f(r[name][kind], n)
		}
	}
}

// Sum is all of them.
func (r Requests) Sum() (n uint64) {
	for _, kinds := range r {
		for _, k := range kinds {
			n += k
		}
	}
	return n
}

// ByKind sums over the streams.
func (r Requests) ByKind() map[string]uint64 {
	out := map[string]uint64{}
	for _, kinds := range r {
		for kind, n := range kinds {
			out[kind] += n
		}
	}
	return out
}

// Replies counts HubSpot's replies by what they were: ok, limited, refused or
// failed.
type Replies map[string]uint64

// Add adds other to r.
func (r Replies) Add(other Replies) {
	for word, n := range other {
		r[word] += n
	}
}

// Raise makes each count of r at least other's.
func (r Replies) Raise(other Replies) {
	for word, n := range other {
		r[word] = max(r[word], n)
	}
}

// Usage is what a portal has used of its day, which is the date where the portal
// is, and what is known of its limits. What HubSpot has not named is 0.
type Usage struct {
	Day string `json:"day"`
	// Processes are the last that asked, with all that each asked in this day;
	// Gone is what earlier ones did.
	Processes []ProcessUsage `json:"processes,omitempty"`
	Gone      Requests       `json:"gone,omitempty"`
	// GoneReplies are the replies that earlier ones got.
	GoneReplies Replies `json:"gone_replies,omitempty"`

	Ceiling       int64   `json:"ceiling,omitempty"` // requests in WindowSeconds
	WindowSeconds float64 `json:"window_seconds,omitempty"`
	Rate          float64 `json:"rate,omitempty"` // a second, as they are made now
	SearchRate    float64 `json:"search_rate,omitempty"`
	Daily         int64   `json:"daily,omitempty"`
	Remaining     int64   `json:"remaining,omitempty"` // of Daily, for everybody
}

// ProcessUsage is what one process has asked in a day.
type ProcessUsage struct {
	Process  string   `json:"process"`
	Requests Requests `json:"requests"`
	Replies  Replies  `json:"replies,omitempty"`
}

// Total is what all processes have asked.
func (u *Usage) Total() Requests {
	out := Requests{}
	out.Add(u.Gone)
	for _, p := range u.Processes {
		out.Add(p.Requests)
	}
	return out
}

// Answered is what all processes have got.
func (u *Usage) Answered() Replies {
	out := Replies{}
	out.Add(u.GoneReplies)
	for _, p := range u.Processes {
		out.Add(p.Replies)
	}
	return out
}
