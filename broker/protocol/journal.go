package protocol

// PortalJournal is how a portal's journal stands at a process. What lies between
// two places is listed until an answer names the second one; then it is in the
// ledger, in the commit that moved the place there.
type PortalJournal struct {
	Portal string `json:"portal"`
	// Asked counts HubSpot's replies; it only grows.
	Asked uint64 `json:"asked,omitempty"`
	// From is the place that was read on from ("" for none yet), To the one that
	// this leads to, "" where there is nothing to say.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Hints are the records that are named between the two; Many are objects of
	// which there are more than that.
	Hints []JournalHints `json:"hints,omitempty"`
	Many  []string       `json:"many,omitempty"`
	// Gap is why something between the two may be missing, "" where all of it is
	// here.
	Gap string `json:"gap,omitempty"`
	// Problem is why the journal is not read, nil where it is.
	Problem *Problem `json:"problem,omitempty"`
}

// JournalHints are records of one object; of those Linked the associations have
// changed, too.
type JournalHints struct {
	Object string   `json:"object"`
	IDs    []string `json:"ids,omitempty"`
	Linked []string `json:"linked,omitempty"`
}

// JournalPlace says where a portal's journal is to be read on from, and whose
// events count. Pull is false where it is not for this process to read, or not
// yet.
type JournalPlace struct {
	Portal  string `json:"portal"`
	Pull    bool   `json:"pull,omitempty"`
	Place   string `json:"place,omitempty"`
	Account int64  `json:"account,omitempty"`
}
