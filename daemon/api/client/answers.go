package client

// Runs is the answer to GET /v1/runs, newest first.
type Runs struct {
	Runs []Run `json:"runs"`
}

// Workers is the answer to GET /v1/workers.
type Workers struct {
	Workers []Worker `json:"workers"`
}

// Portals is the answer to GET /v1/portals.
type Portals struct {
	Portals []Portal `json:"portals"`
}

// Notifications is the answer to GET /v1/notify.
type Notifications struct {
	Notify []Notification `json:"notify"`
}

// Lines is the answer to GET /v1/logs, oldest first.
type Lines struct {
	Lines []Line `json:"lines"`
}

// Erasures is the answer to GET /v1/erasures.
type Erasures struct {
	Erasures []Erasure `json:"erasures"`
}

// Schema is the answer to GET /v1/streams/{stream}/schema.
type Schema struct {
	Properties []Property `json:"properties"`
}

// Said is the answer of what has nothing to say but that it is so.
type Said struct {
	Status string `json:"status"`
}

// Erased is the answer to POST /v1/streams/{stream}/erase.
type Erased struct {
	Status string `json:"status"`
	Stream string `json:"stream"`
	Record string `json:"record"`
}

// Reloaded is the answer to POST /v1/reload: what reading the configuration
// again did.
type Reloaded struct {
	Status string `json:"status"`
	Plan
}

// Destinations is the answer to GET /v1/destinations.
type Destinations struct {
	Destinations []Destination `json:"destinations"`
}

// Profiles is the answer to GET /debug/pprof: the names of the profiles.
type Profiles struct {
	Profiles []string `json:"profiles"`
}

// LevelBody is the body of PUT /v1/log.
type LevelBody struct {
	Level string `json:"level"`
}
