package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Journal is an app that has subscribed to everything that changes, and whose
// journal is read with a token of its own (client_credentials). Its subscriptions
// are taken as made.
type Journal struct {
	ClientID, ClientSecret string
	// Every is how often an entry is published, where there is something to tell;
	// default 1 s.
	Every time.Duration
	// Lifetime is how long a token is valid; default 30 minutes.
	Lifetime time.Duration
}

// What HubSpot documents of its journal.
const (
	journalVersion = "2026-03"
	journalScope   = "developer.webhooks_journal.read"
	journalKept    = 3 * 24 * time.Hour
	journalEvents  = 10_000
	fileValid      = 5 * time.Minute // a file's address
	filePath       = "/_storage/journal/"
)

// journal are the entries, and the events of the next one.
type journal struct {
	mu      sync.Mutex // guards all
	tokens  map[string]journalGrant
	given   uint64
	events  []map[string]any // of the next entry
	since   time.Time        // of the first of them
	entries []journalEntry
	stats   JournalStats
}

type journalGrant struct {
	ends  time.Time
	scope string
}

type journalEntry struct {
	offset string
	at     time.Time
	file   []byte
}

// JournalStats count what was handed out.
type JournalStats struct {
	Entries int64 // published
	Empty   int64 // answers of 204
	Lost    int64 // offsets that were not known
	Files   int64 // fetched
	Tokens  int64
}

// JournalStats returns the counts so far.
func (s *Simulator) JournalStats() JournalStats {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.stats
}

// LoseJournal forgets all entries, as HubSpot does after three days, and revokes
// the tokens.
func (s *Simulator) LoseJournal() {
	j := &s.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries, j.events, j.tokens = nil, nil, nil
}

// journalAction is what the journal calls a change.
func journalAction(what string, extra map[string]any) (kind, action string) {
	switch what {
	case "creation":
		return "crmObject", "CREATE"
	case "propertyChange":
		return "crmObject", "UPDATE"
	case "deletion":
		return "crmObject", "DELETE"
	case "restore":
		return "crmObject", "RESTORE"
	case "merge":
		return "crmObject", "MERGE"
	case "privacyDeletion":
		return "gdprPrivacyDeletion", "GDPR_DELETE"
	}
	if removed, _ := extra["associationRemoved"].(bool); removed {
		return "association", "ASSOCIATION_REMOVED"
	}
	return "association", "ASSOCIATION_ADDED"
}

// journalize notes an event of each of these records.
func (s *Simulator) journalize(st *store, what string, ids []string, extra map[string]any) {
	if s.o.Journal == nil || len(ids) == 0 {
		return
	}
	j, now := &s.journal, s.o.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	s.due(now)
	for _, id := range ids {
		kind, action := journalAction(what, extra)
		e := map[string]any{"type": kind, "portalId": s.o.PortalID, "occurredAt": now.UTC().Format(time.RFC3339Nano), "action": action}
		if kind == "association" {
			e["fromObjectId"], e["toObjectId"] = extra["fromObjectId"], extra["toObjectId"]
			e["fromObjectTypeId"], e["toObjectTypeId"] = extra["fromTypeId"], extra["toTypeId"]
			e["associationTypeId"], e["associationCategory"], e["isPrimary"] = 1, "HUBSPOT_DEFINED", false
		} else {
			e["objectTypeId"] = st.sc.typeID
			e["objectId"], _ = strconv.ParseUint(id, 10, 64) // the simulator's own
			for _, name := range []string{"primaryObjectId", "mergedObjectIds", "newObjectId"} {
				if v, ok := extra[name]; ok {
					e[name] = v
				}
			}
			if action == "UPDATE" {
				e["propertyChanges"] = map[string]any{"hs_lastmodifieddate": strconv.FormatInt(now.UnixMilli(), 10)}
			}
		}
		if len(j.events) == 0 {
			j.since = now
		}
		j.events = append(j.events, e)
		if len(j.events) >= journalEvents {
			s.publish(now)
		}
	}
}

// publish makes an entry of what there is to tell; j.mu is held.
func (s *Simulator) publish(now time.Time) {
	j := &s.journal
	j.stats.Entries++
	h := mix(uint64(s.o.Seed)<<32 ^ uint64(j.stats.Entries))
	offset := fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", h>>32, h>>16&0xffff, h&0xfff, mix(h)&0xfff, mix(h)>>16)
	// An event of every tenth entry stands there twice.
	if n := len(j.events); j.stats.Entries%10 == 0 && n > 0 {
		j.events = append(j.events, j.events[n-1])
	}
	file, err := json.Marshal(map[string]any{"offset": offset, "journalEvents": j.events, "publishedAt": now.UTC().Format(time.RFC3339Nano)})
	if err != nil {
		file = []byte("{}") // it is of strings and numbers
	}
	j.events = nil
	j.entries = append(j.entries, journalEntry{offset, now, file})
}

// due publishes what has waited long enough and forgets what is too old; j.mu is
// held.
func (s *Simulator) due(now time.Time) {
	j, every := &s.journal, s.o.Journal.Every
	if every <= 0 {
		every = time.Second
	}
	if len(j.events) > 0 && now.Sub(j.since) >= every {
		s.publish(now)
	}
	old := 0
	for old < len(j.entries) && now.Sub(j.entries[old].at) > journalKept {
		old++
	}
	j.entries = j.entries[old:]
}

// journalRoute reads the addresses of the journal.
func (s *Simulator) journalRoute(p []string, _ *switches) (route, bool) {
	if s.o.Journal == nil || len(p) < 4 || p[0] != "webhooks-journal" || p[1] != "journal" || p[2] != journalVersion {
		return route{}, false
	}
	rt := route{kind: kindOfJournal, known: true, method: http.MethodGet}
	switch rest := p[3:]; {
	case len(rest) == 1 && (rest[0] == "earliest" || rest[0] == "latest"):
		rt.id = rest[0]
	case len(rest) == 3 && rest[0] == "offset" && rest[2] == "next":
		rt.id = "offset/" + rest[1]
	default:
		return route{}, false
	}
	return rt, true
}

// serveJournal answers for the journal, to which neither the day's limit nor that
// of ten seconds applies, nor a portal's token.
func (c *call) serveJournal(rt route) {
	token, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	j := &c.s.journal
	j.mu.Lock()
	grant, given := j.tokens[token]
	j.mu.Unlock()
	switch {
	case !ok || !given || c.sw.unauthorized:
		c.s.count.unauthorized.Add(1)
		c.fail(401, "INVALID_AUTHENTICATION", "Authentication credentials not found. This API supports OAuth 2.0 authentication.", "")
	case !c.now.Before(grant.ends):
		c.s.count.unauthorized.Add(1)
		c.fail(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired.", "")
	case !slices.Contains(strings.Fields(grant.scope), journalScope):
		c.s.count.forbidden.Add(1)
		c.missingScopes([]string{journalScope})
	case c.r.Method != rt.method:
		c.fail(405, "", "method not allowed", "")
	default:
		if c.wait() {
			c.entryBehind(rt.id)
		}
	}
}

func (c *call) entryBehind(what string) {
	if q := c.r.URL.Query(); q.Has("installPortalId") && q.Get("installPortalId") != strconv.FormatInt(c.s.o.PortalID, 10) {
		c.fail(403, "", "the app is not installed in this account", "")
		return
	}
	j := &c.s.journal
	j.mu.Lock()
	c.s.due(c.now)
	all, at := j.entries, 0
	if what == "latest" {
		at = max(0, len(all)-1)
	}
	if offset, ok := strings.CutPrefix(what, "offset/"); ok {
		at = 1 + slices.IndexFunc(all, func(e journalEntry) bool { return e.offset == offset })
		if at == 0 {
			j.stats.Lost++
			j.mu.Unlock()
			c.fail(404, "OBJECT_NOT_FOUND", "the offset has expired or does not exist", "")
			return
		}
	}
	if at >= len(all) {
		j.stats.Empty++
		j.mu.Unlock()
		c.w.WriteHeader(http.StatusNoContent)
		return
	}
	e := all[at]
	j.mu.Unlock()
	expires := c.now.Add(fileValid)
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	address := fmt.Sprintf("%s://%s%s%s?expires=%d&signature=%s", scheme, c.r.Host, filePath, e.offset, expires.Unix(), c.s.signature(e.offset, expires.Unix()))
	b, _ := json.Marshal(map[string]any{"url": address, "expiresAt": expires.UTC().Format(time.RFC3339), "currentOffset": e.offset})
	c.send(200, "application/json;charset=utf-8", b)
}

// signature is what makes an address one that the journal gave.
func (s *Simulator) signature(offset string, expires int64) string {
	return fmt.Sprintf("%016x", mix(hashString(offset)^mix(uint64(s.o.Seed)^uint64(expires))))
}

// journalFile is the storage that files lie in. As such storage does, it refuses
// who shows a token besides the signature.
func (c *call) journalFile() {
	offset, q := strings.TrimPrefix(c.r.URL.Path, filePath), c.r.URL.Query()
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	switch {
	case c.r.Header.Get("Authorization") != "":
		c.send(400, "application/xml", []byte("<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"))
		return
	case err != nil || q.Get("signature") != c.s.signature(offset, expires):
		c.send(403, "application/xml", []byte("<Error><Code>SignatureDoesNotMatch</Code></Error>"))
		return
	case c.now.Unix() > expires:
		c.send(403, "application/xml", []byte("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"))
		return
	}
	j := &c.s.journal
	j.mu.Lock()
	i := slices.IndexFunc(j.entries, func(e journalEntry) bool { return e.offset == offset })
	if i < 0 {
		j.mu.Unlock()
		c.send(404, "application/xml", []byte("<Error><Code>NoSuchKey</Code></Error>"))
		return
	}
	file := j.entries[i].file
	j.stats.Files++
	j.mu.Unlock()
	c.send(200, "application/json", file)
}

// journalToken gives the app a token of its own.
func (c *call) journalToken() {
	app, f, j := c.s.o.Journal, c.r.PostForm, &c.s.journal
	switch {
	case f.Get("grant_type") != "client_credentials":
		c.refuseToken("unsupported_grant_type", "BAD_GRANT_TYPE", "grant_type has to be client_credentials")
		return
	case f.Get("client_id") != app.ClientID || f.Get("client_secret") != c.sw.journalSecret:
		c.refuseToken("invalid_client", "BAD_CLIENT_ID", "missing or unknown client id")
		return
	case strings.TrimSpace(f.Get("scope")) == "":
		c.refuseToken("invalid_scope", "BAD_SCOPE", "a scope has to be named")
		return
	}
	life := app.Lifetime
	if life <= 0 {
		life = 30 * time.Minute
	}
	j.mu.Lock()
	j.given++
	j.stats.Tokens++
	if j.tokens == nil {
		j.tokens = map[string]journalGrant{}
	}
	token := fmt.Sprintf("journal-%d-%08x", j.given, uint32(mix(uint64(c.s.o.Seed)^j.given<<20)))
	j.tokens[token] = journalGrant{c.now.Add(life), f.Get("scope")}
	j.mu.Unlock()
	c.send(200, "application/json;charset=utf-8", fmt.Appendf(nil, `{"access_token":%q,"expires_in":%d,"token_type":"bearer"}`, token, int(life.Seconds())))
}
