package api

import (
	"net/http"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// operation is what the document says of a route beyond its row.
type operation struct {
	id, tag string
	more    string // what the summary does not say
	body    any    // a value of the type of the body, nil where it takes none
	needed  bool   // whether the body has to be there
	answers []answer
	all     bool // whether the path's first name, that of a stream, may be "all"
}

// aboutBody says whether a body may be left out.
func (op *operation) aboutBody() string {
	if op.needed {
		return "It has to be there."
	}
	return "May be left out, or empty."
}

// answer is one of the good answers of a route.
type answer struct {
	status int
	what   string
	value  any // of the type that JSON has, nil where there is none
	media  []string
}

func ok(what string, value any, media ...string) []answer {
	return []answer{{http.StatusOK, what, value, append([]string{mediaJSON}, media...)}}
}

// begun are the answers of the commands that make a run.
func begun() []answer {
	return []answer{
		{http.StatusOK, "With wait: the run, which has ended. Of all streams: the runs.", oneOrAll{client.Run{}, client.AllRuns{}}, []string{mediaJSON}},
		{http.StatusAccepted, "The id of the run that began or was joined. Of all streams: the ids.", oneOrAll{client.Started{}, client.AllStarted{}}, []string{mediaJSON}},
	}
}

// oneOrAll is an answer of one stream or of all.
type oneOrAll struct{ one, all any }

// Names of tags.
const (
	tagControl = "control"
	tagData    = "data"
	tagWatch   = "watch"
	tagDaemon  = "daemon"
)

// tag is a group of operations.
type tag struct{ name, what string }

// tags are the groups, in the order in which they are shown.
func tags() []tag {
	return []tag{
		{tagControl, "Begin and end what is fetched, and see how it stands."},
		{tagData, "What is stored."},
		{tagWatch, "What happens."},
		{tagDaemon, "The daemon itself."},
	}
}

// operations has a row for each route, by method and pattern.
func operations() map[string]operation {
	const stream = "/v1/streams/{stream}"
	status := ok("How the stream stands. Of all streams: how they stand.", oneOrAll{client.Status{}, client.Statuses{}})
	return map[string]operation{
		"POST " + stream + "/start": {id: "startStream", tag: tagControl, all: true, body: client.StartBody{}, answers: status,
			more: "The first run comes at once. Without an interval the configured one holds. Does nothing where that is so already."},
		"POST " + stream + "/stop": {id: "stopStream", tag: tagControl, all: true, answers: status,
			more: "Answers when nothing more of what runs can be stored. What was stored stays, and the next run goes on from there."},
		"POST " + stream + "/sync": {id: "syncStream", tag: tagControl, all: true, body: client.SyncBody{}, answers: begun(),
			more: "Joins a run that goes on; also for a stream that is stopped."},
		"POST " + stream + "/resync": {id: "resyncStream", tag: tagControl, all: true, answers: begun()},
		"POST " + stream + "/reconcile": {id: "reconcileStream", tag: tagControl, all: true, body: client.ReconcileBody{}, answers: begun(),
			more: "The run's report says what was missing, stale or gone."},
		"POST " + stream + "/erase": {id: "eraseRecord", tag: tagControl, body: client.EraseBody{}, needed: true, answers: ok("It has gone.", client.Erased{})},
		"GET /v1/erasures":          {id: "listErasures", tag: tagData, answers: ok("What was erased, by stream and id.", client.Erasures{})},
		"GET /v1/streams":           {id: "listStreams", tag: tagControl, answers: ok("How they stand.", client.Statuses{})},
		"GET " + stream:             {id: "getStream", tag: tagControl, answers: ok("How it stands.", client.Status{})},
		"GET " + stream + "/records": {id: "listRecords", tag: tagData, answers: ok("A page of records. As lines, the next page's cursor is in the trailer Hubpipe-Next.",
			client.RecordPage{}, mediaNDJSON)},
		"GET " + stream + "/records/{id}":         {id: "getRecord", tag: tagData, answers: ok("The record.", client.Record{})},
		"GET " + stream + "/records/{id}/explain": {id: "explainRecord", tag: tagData, answers: ok("What is known.", client.Explanation{})},
		"GET " + stream + "/changes": {id: "followChanges", tag: tagData, answers: []answer{{http.StatusOK,
			"Each record once, at its newest place, in the order of seq; tombstones too. Keep the last seq and ask again with since.",
			client.Record{}, []string{mediaNDJSON, mediaSSE}}}},
		"GET " + stream + "/export": {id: "exportRecords", tag: tagData, answers: []answer{{http.StatusOK, "All records of one moment.",
			nil, []string{mediaNDJSON, mediaCSV, mediaParquet}}}},
		"GET " + stream + "/schema":           {id: "getSchema", tag: tagData, answers: ok("HubSpot's properties.", client.Schema{})},
		"GET /v1/runs":                        {id: "listRuns", tag: tagWatch, answers: ok("The runs.", client.Runs{})},
		"GET /v1/runs/{id}":                   {id: "getRun", tag: tagWatch, answers: ok("The run.", client.Run{})},
		"GET /v1/workers":                     {id: "listWorkers", tag: tagWatch, answers: ok("Those that were heard of.", client.Workers{})},
		"GET /v1/portals":                     {id: "listPortals", tag: tagWatch, answers: ok("With their limits, and what was used of them today.", client.Portals{})},
		"GET /v1/figures":                     {id: "getFigures", tag: tagWatch, answers: ok("The figures.", client.Figures{})},
		"GET /v1/notify":                      {id: "listNotify", tag: tagWatch, answers: ok("How each stands.", client.Notifications{})},
		"GET /v1/destinations":                {id: "listDestinations", tag: tagWatch, answers: ok("How they stand.", client.Destinations{})},
		"GET /v1/destinations/{name}":         {id: "getDestination", tag: tagWatch, answers: ok("How it stands.", client.Destination{})},
		"GET /v1/destinations/{name}/check":   {id: "checkDestination", tag: tagWatch, answers: ok("Whether its tables are as the store is.", client.DestinationCheck{})},
		"GET /v1/destinations/{name}/tables":  {id: "describeDestination", tag: tagWatch, answers: ok("Tables and columns, with their types and what they are.", client.DestinationTables{})},
		"POST /v1/destinations/{name}/pause":  {id: "pauseDestination", tag: tagControl, answers: ok("How it stands.", client.Destination{})},
		"POST /v1/destinations/{name}/resume": {id: "resumeDestination", tag: tagControl, answers: ok("How it stands.", client.Destination{})},
		"POST /v1/destinations/{name}/resync": {id: "resyncDestination", tag: tagControl, body: client.ResyncDestinationBody{},
			answers: []answer{{http.StatusAccepted, "How it stands.", client.Destination{}, []string{mediaJSON}}}},
		"POST /v1/notify/{name}/test":        {id: "testNotify", tag: tagDaemon, answers: ok("It has arrived.", client.Said{})},
		"POST /v1/webhooks/hubspot/{portal}": {id: "receiveWebhook", tag: tagDaemon, answers: []answer{{http.StatusNoContent, "What has changed is on its way.", nil, nil}}},
		"GET /v1/log":                        {id: "getLogLevel", tag: tagDaemon, answers: ok("The level, and the configured one.", client.LogLevel{})},
		"PUT /v1/log":                        {id: "setLogLevel", tag: tagDaemon, body: client.LevelBody{}, needed: true, answers: ok("The level, and the configured one.", client.LogLevel{})},
		"GET /debug/pprof":                   {id: "listProfiles", tag: tagDaemon, answers: ok("Their names.", client.Profiles{})},
		"GET /debug/pprof/{profile}":         {id: "profile", tag: tagDaemon, answers: []answer{{http.StatusOK, "The profile.", nil, []string{mediaBinary, "text/plain"}}}},
		"GET /v1/doctor":                     {id: "doctor", tag: tagDaemon, answers: ok("What is wrong.", client.Diagnosis{})},
		"GET /v1/backup":                     {id: "backup", tag: tagDaemon, answers: []answer{{http.StatusOK, "A file for hubpipe restore.", nil, []string{mediaBinary}}}},
		"POST /v1/shutdown":                  {id: "shutdown", tag: tagDaemon, answers: []answer{{http.StatusAccepted, "It stops.", client.Said{}, []string{mediaJSON}}}},
		"POST /v1/reload":                    {id: "reload", tag: tagDaemon, answers: ok("What that did.", client.Reloaded{})},
		"POST /v1/plan":                      {id: "plan", tag: tagDaemon, answers: ok("What it would do.", client.Plan{})},
		"GET /v1/events": {id: "followEvents", tag: tagWatch, answers: []answer{{http.StatusOK,
			"Events stream, run, worker, portal, destination, figures and daemon, with the object as its route gives it, and log.", nil, []string{mediaSSE}}}},
		"GET /v1/logs":      {id: "listLogs", tag: tagWatch, answers: ok("The lines.", client.Lines{})},
		"GET /metrics":      {id: "metrics", tag: tagWatch, answers: []answer{{http.StatusOK, "Prometheus' text format.", nil, []string{"text/plain"}}}},
		"GET /healthz":      {id: "healthz", tag: tagDaemon, answers: ok("It lives.", client.Said{})},
		"GET /readyz":       {id: "readyz", tag: tagDaemon, answers: ok("It can work.", client.Said{})},
		"GET /openapi.json": {id: "openapi", tag: tagDaemon, answers: ok("This document.", nil)},
		"GET /docs":         {id: "docs", tag: tagDaemon, answers: []answer{{http.StatusOK, "This document, to be read.", nil, []string{"text/html"}}}},
	}
}

// parameter is one of a route's, with what it may be.
type parameter struct {
	what    string
	schema  *jsonschema.Schema
	example any
}

// Patterns of parameters that are text.
const (
	durationPattern = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`
	runPattern      = `^r[0-9]{1,20}$`
	sincePattern    = `^([0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt].*)$`
)

func text(pattern string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: pattern}
}

func oneOf(values ...any) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Enum: values} }

func whole(top float64) *jsonschema.Schema {
	one := 1.0
	return &jsonschema.Schema{Type: "integer", Minimum: &one, Maximum: &top}
}

// parameterOf says what a query parameter of a route may be; false where nobody
// has said.
func parameterOf(pattern, name string) (parameter, bool) {
	const records = "/v1/streams/{stream}/records"
	switch pattern + "?" + name {
	case "/v1/runs?limit", records + "?limit":
		return parameter{"how many, 100 by default", whole(maxLimit), 10}, true
	case "/v1/streams/{stream}/changes?limit":
		return parameter{"how many; all by default", whole(maxChanges), 10}, true
	case "/debug/pprof/{profile}?seconds":
		return parameter{"how long to measure", whole(mostSeconds), 1}, true
	case "/v1/logs?limit":
		return parameter{"how many lines, 200 by default", whole(maxLines), 10}, true
	case "/v1/runs?state":
		return parameter{"only runs of this state", oneOf(client.RunRunning, client.RunDone, client.RunFailed, client.RunStopped), client.RunDone}, true
	}
	p, known := map[string]parameter{
		"wait":   {"how long to wait for the run's end, to 10m", text(durationPattern), "60s"},
		"cursor": {"the next of the page before, with the same parameters", text(`^[A-Za-z0-9_-]*$`), "cjox"},
		"since": {"a place in the feed: the seq of the last record that you have (0 for the beginning), or a time of commit (RFC 3339)",
			text(sincePattern), "0"},
		"modified_since": {"only what HubSpot changed at or after this time; for people, since HubSpot's times go back",
			&jsonschema.Schema{Type: "string", Format: "date-time"}, "2026-01-31T12:00:00Z"},
		"state": {"live by default; one or more of live, archived, purged and merged, with commas, or all",
			text(`^(all|(live|archived|purged|merged)(,(live|archived|purged|merged))*)$`), "live,archived"},
		"fields":        {"names of properties, with commas; all by default", text(`^[^,]+(,[^,]+)*$`), "email,firstname"},
		"follow":        {"go on with what comes", &jsonschema.Schema{Type: "boolean"}, false},
		"format":        {"ndjson by default", oneOf("ndjson", "csv", "parquet"), "ndjson"},
		"formulas":      {"of CSV: safe puts an apostrophe before what a spreadsheet would run, keep leaves every value as it is", oneOf("safe", "keep"), "safe"},
		"as":            {"the name of a destination: without what it does not get, hashed and cut as it gets it", text(""), "warehouse"},
		"debug":         {"as Go's own handler has it: 1 and 2 are text", text(`^[0-2]$`), "1"},
		"gc":            {"1 collects garbage before a profile of the heap", text(`^[01]$`), "1"},
		"stream":        {"only of this stream", text(""), "contacts"},
		"before":        {"the id of the last run that was seen", text(runPattern), "r000000000009"},
		"level":         {"of at least this level", oneOf("trace", "debug", "info", "warn", "error"), "warn"},
		"last_event_id": {"the id of the last event that came, as the header Last-Event-ID", text(`^[0-9]*$`), "0"},
	}[name]
	return p, known
}
