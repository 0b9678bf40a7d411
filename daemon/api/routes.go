package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// Route is one row of the API: what it is called with and what it is for.
type Route struct {
	Method  string
	Pattern string // of http.ServeMux
	Summary string
	// Query are the parameters that it understands; others are refused.
	Query  []string
	handle handler
}

// handler answers a request whose parameters are known; an error that it
// returns is answered for it.
type handler func(w http.ResponseWriter, r *http.Request, q params) error

// Routes lists what the server answers, in the order in which it is described.
func (s *Server) Routes() []Route {
	const stream = "/v1/streams/{stream}"
	routes := []Route{
		{"GET", "/healthz", "whether the daemon lives; needs no token", nil, s.healthz},
		{"GET", "/readyz", "whether it can work; needs no token", nil, s.readyz},
		{"POST", stream + "/start", "begin fetching on an interval", nil, s.start},
		{"POST", stream + "/stop", "end the schedule and what runs", nil, s.stop},
		{"POST", stream + "/sync", "one run now", []string{"wait"}, s.sync},
		{"POST", stream + "/resync", "everything again, emptying nothing", []string{"wait"}, s.resync},
		{"POST", stream + "/reconcile", "everything held against HubSpot", []string{"wait"}, s.reconcile},
		{"POST", stream + "/erase", "take away all that is held of a record", nil, s.erase},
		{"GET", "/v1/erasures", "what was erased", nil, s.erasures},
		{"GET", "/v1/streams", "all streams", nil, s.streams},
		{"GET", stream, "one stream", nil, s.stream},
		{"GET", stream + "/records", "records by id, or with since in the order of the feed, in pages",
			[]string{"limit", "cursor", "since", "modified_since", "state", "fields"}, s.records},
		{"GET", stream + "/records/{id}", "one record", []string{"fields"}, s.record},
		{"GET", stream + "/records/{id}/explain", "how what is stored of a record came to be there", nil, s.explain},
		{"GET", stream + "/changes", "the change feed", []string{"since", "limit", "follow"}, s.changes},
		{"GET", stream + "/export", "all records as a file", []string{"format", "state", "fields", "formulas", "as"}, s.export},
		{"GET", stream + "/schema", "HubSpot's properties with their types", nil, s.schema},
		{"GET", "/v1/runs", "runs, newest first", []string{"stream", "state", "limit", "before"}, s.runs},
		{"GET", "/v1/runs/{id}", "one run", nil, s.run1},
		{"GET", "/v1/workers", "workers", nil, s.workers},
		{"GET", "/v1/portals", "portals", nil, s.portals},
		{"GET", "/v1/figures", "what the daemon takes and who is connected", nil, s.figures},
		{"GET", "/v1/destinations", "the warehouses that follow the change feed", nil, s.destinations},
		{"GET", "/v1/destinations/{name}", "one of them", nil, s.destination},
		{"GET", "/v1/destinations/{name}/check", "whether its tables are as the store is", nil, s.checkDestination},
		{"GET", "/v1/destinations/{name}/tables", "what its tables look like", nil, s.destinationTables},
		{"POST", "/v1/destinations/{name}/pause", "keep it from writing", nil, s.pauseDestination},
		{"POST", "/v1/destinations/{name}/resume", "let it go on, or try again at once", nil, s.resumeDestination},
		{"POST", "/v1/destinations/{name}/resync", "write every row of a stream, or of all, again", nil, s.resyncDestination},
		{"GET", "/v1/notify", "whom the daemon tells what is wrong", nil, s.notifications},
		{"POST", "/v1/notify/{name}/test", "send a message that says that it is a test", nil, s.testNotification},
		{"GET", "/v1/doctor", "whether all that is stored can be read and agrees", nil, s.doctor},
		{"GET", "/v1/backup", "all that the store holds, as of one moment, for hubpipe restore", nil, s.backup},
		{"GET", "/v1/log", "how much is logged", nil, s.logLevel},
		{"PUT", "/v1/log", "log more or less, until the next reload or restart", nil, s.setLogLevel},
		{"GET", "/debug/pprof", "which profiles of the process there are", nil, s.profiles},
		{"GET", "/debug/pprof/{profile}", "a profile of the process, for go tool pprof", []string{"seconds", "debug", "gc"}, s.profile},
		{"POST", "/v1/shutdown", "stop the daemon, as SIGTERM does", nil, s.shutdown},
		{"POST", "/v1/reload", "read the configuration again, as SIGHUP does", nil, s.reload},
		{"POST", "/v1/plan", "what a reload would do now", nil, s.plan},
	}
	if s.o.Events != nil {
		routes = append(routes, Route{"GET", "/v1/events", "what happens, as server-sent events", []string{"last_event_id"}, s.events})
	}
	if s.o.Logs != nil {
		routes = append(routes, Route{"GET", "/v1/logs", "the last lines of the log", []string{"stream", "level", "limit"}, s.logs})
	}
	if s.o.Webhooks != nil {
		routes = append(routes, Route{"POST", webhookPath + "{portal}", "what HubSpot says has changed; needs its signature and no token", nil, s.webhook})
	}
	if s.o.Metrics != nil {
		routes = append(routes, Route{"GET", "/metrics", "figures for Prometheus", nil,
			func(w http.ResponseWriter, r *http.Request, _ params) error {
				s.o.Metrics.ServeHTTP(w, r)
				return nil
			}})
	}
	return append(routes,
		Route{"GET", "/openapi.json", "the description of this API, for programs", nil, s.openapi},
		Route{"GET", "/docs", "the description of this API, to be read", nil, s.docs})
}

// newMux makes a mux of the table. Beside each path stands an answer for the
// methods that it does not have, and below all one for what there is not, so
// that these are problems too.
func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, route := range s.Routes() {
		methods[route.Pattern] = append(methods[route.Pattern], route.Method)
		mux.HandleFunc(route.Method+" "+route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Hubpipe-Version", s.o.Version)
			answer := func(w http.ResponseWriter, r *http.Request) {
				q, err := parseParams(r.URL.RawQuery, route.Query, route.Pattern == "/metrics")
				if err == nil {
					err = route.handle(w, r, q)
				}
				if err != nil {
					s.fail(w, r, err)
				}
			}
			if len(r.Header.Values(headerKey)) == 0 || route.Method != http.MethodPost || isWebhook(r) {
				answer(w, r)
			} else if err := s.once(w, r, answer); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	for pattern, allowed := range methods {
		if slices.Contains(allowed, http.MethodGet) {
			allowed = append(allowed, http.MethodHead)
		}
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.problem(w, &client.Problem{Type: client.TypeMethodNotAllowed, Title: "that method is not for this route",
				Status: http.StatusMethodNotAllowed, Detail: fmt.Sprintf("%s does not go here", Clip(r.Method)), Hint: "use " + allow})
		})
	}
	mux.HandleFunc("/", s.noRoute)
	return mux
}

func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) {
	s.problem(w, &client.Problem{Type: client.TypeNotFound, Title: "there is no such route", Status: http.StatusNotFound,
		Detail: fmt.Sprintf("%q is not a route", Clip(r.URL.Path)), Hint: "begin with GET /v1/streams"})
}
