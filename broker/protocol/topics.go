package protocol

import "strings"

// Topics names the topics under a prefix; the table is architecture's.
type Topics struct{ Prefix string }

// Control is where commands come in; ControlResponse where answers go.
func (t Topics) Control() string { return t.Prefix + "/control" }

// ControlResponse is the default topic for answers to commands.
func (t Topics) ControlResponse() string { return t.Prefix + "/control/response" }

// Status is the daemon's retained status and last will.
func (t Topics) Status() string { return t.Prefix + "/status" }

// Stream is a stream's retained status.
func (t Topics) Stream(name string) string { return t.Prefix + "/streams/" + name }

// Changes is a stream's changes, where they are switched on.
func (t Topics) Changes(stream string) string { return t.Prefix + "/changes/" + stream }

// Worker is a worker's retained presence and last will.
func (t Topics) Worker(id string) string { return t.Prefix + "/workers/" + id }

// Commands carries fetch and cancel to a worker.
func (t Topics) Commands(id string) string { return t.Worker(id) + "/commands" }

// Answers carries answers to a worker.
func (t Topics) Answers(id string) string { return t.Worker(id) + "/answers" }

// Pages carries a worker's pages.
func (t Topics) Pages(id string) string { return t.Worker(id) + "/pages" }

// Heartbeat carries a worker's heartbeats.
func (t Topics) Heartbeat(id string) string { return t.Worker(id) + "/heartbeat" }

// ParseWorker splits a worker's topic into its id and what follows it ("" for
// the presence).
func (t Topics) ParseWorker(topic string) (id, rest string, ok bool) {
	tail, ok := strings.CutPrefix(topic, t.Prefix+"/workers/")
	if !ok {
		return "", "", false
	}
	id, rest, _ = strings.Cut(tail, "/")
	return id, rest, id != "" && !strings.Contains(rest, "/")
}

// DaemonClient and its control connection are the daemon's client ids.
func (t Topics) DaemonClient() string { return t.Prefix + "-daemon" }

// DaemonControlClient is the second connection, without a persistent session.
func (t Topics) DaemonControlClient() string { return t.Prefix + "-daemon-control" }

// WorkerClient is the client id of the worker of that name.
func (t Topics) WorkerClient(id string) string { return t.Prefix + "-worker-" + id }

// DaemonStatus is the payload of the status topic.
type DaemonStatus struct {
	State   string `json:"state"` // online or offline
	Version string `json:"version,omitempty"`
	Address string `json:"address,omitempty"` // of the HTTP API
	Store   string `json:"store"`
	Epoch   uint64 `json:"epoch"`
	Process string `json:"process"`
	Time    string `json:"time"`
	// Lacks is what the broker lacks, in words for people.
	Lacks []string `json:"lacks,omitempty"`
}

// Presence is the payload of a worker's topic.
type Presence struct {
	State    string   `json:"state"`
	Process  string   `json:"process"`
	Version  string   `json:"version,omitempty"`
	Portals  []string `json:"portals,omitempty"`
	Capacity int      `json:"capacity,omitempty"`
	Time     string   `json:"time"`
}
