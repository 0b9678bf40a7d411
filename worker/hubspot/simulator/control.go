package simulator

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// duration is a time.Duration that JSON writes as "5s".
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is written like \"5s\": %w", err)
	}
	v, err := time.ParseDuration(s)
	*d = duration(v)
	return err
}

// control answers the addresses that are the simulator's own. Neither token,
// limits, latency nor faults apply to them.
func (c *call) control(rest string) {
	switch object, isTruth := strings.CutPrefix(rest, "truth/"); {
	case rest == "" && c.r.Method == http.MethodGet:
		c.send(200, "text/plain; charset=utf-8", []byte(controlList))
	case isTruth && c.r.Method == http.MethodGet && strings.HasPrefix(object, "associations/"):
		c.truthAssociations(strings.TrimPrefix(object, "associations/"))
	case isTruth && c.r.Method == http.MethodGet && strings.HasPrefix(object, "history/"):
		c.truthOfHistory(strings.TrimPrefix(object, "history/"))
	case isTruth && c.r.Method == http.MethodGet:
		c.truth(object)
	case c.r.Method == http.MethodPost && strings.HasPrefix(rest, "associations/"):
		c.changeAssociations(strings.TrimPrefix(rest, "associations/"))
	case rest == "scenario" && (c.r.Method == http.MethodGet || c.r.Method == http.MethodPost):
		c.tellScenario(c.r.Method == http.MethodPost)
	case rest == "stats" && c.r.Method == http.MethodGet:
		c.json(200, c.s.Stats())
	case rest == "faults" && c.r.Method == http.MethodPost:
		c.switchOver()
	case c.r.Method == http.MethodPost && strings.HasSuffix(rest, "/properties"):
		c.changeProperties(strings.TrimSuffix(rest, "/properties"))
	case c.r.Method == http.MethodPost && c.s.stores[rest] != nil:
		c.changeRecords(rest)
	case c.r.Method == http.MethodPost && c.s.set(rest) != nil:
		c.changeSet(rest)
	default:
		c.json(404, map[string]string{"message": "no such control address; GET /_simulator/ lists them"})
	}
}

// controlList is what a person reads who asks what the simulator can be told: an
// address a line, with a body where it takes one, and two spaces before what it
// does.
const controlList = `GET /_simulator/truth/contacts  all that there is, a record a line
POST /_simulator/contacts  one record changes
POST /_simulator/contacts {"change":10}  ten do; with "at" (ms) at that time, with "visible_after" ("5s") search sees it so late
POST /_simulator/contacts {"create":2}
POST /_simulator/contacts {"ids":["ID"],"properties":{"city":"Oslo"}}
POST /_simulator/contacts {"archive":["ID"]}  and "restore", "delete", "hide" (from search, for ever)
POST /_simulator/contacts {"merge":[{"into":"ID","from":["OTHER"]}]}
POST /_simulator/contacts/properties {"add":[{"name":"shoe_size","kind":"number"}]}  and "remove", "restore", "retype", "sensitive", "recalculate"
GET /_simulator/truth/associations/contacts/deals
POST /_simulator/associations/contacts/deals {"storm":3}  and "associate", "dissociate": [{"from":"ID","to":"ID"}]
POST /_simulator/faults {"rate":0.05}  and "latency", "search_lateness", "limits", "unauthorized", "daily_remaining", "stale_reads"
GET /_simulator/stats  what was asked, refused and failed
POST /_simulator/scenario  its next step
`

func (c *call) json(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = 500, []byte(`{"message":"the answer cannot be written"}`)
	}
	c.send(status, "application/json", append(b, '\n'))
}

// decode reads a control body; a misspelt field is an error.
func (c *call) decode(v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, 64<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) { // that there is no body is no mistake
		c.json(400, map[string]string{"message": err.Error() + "; GET /_simulator/ shows what can be sent"})
		return false
	}
	return true
}

// truth writes one record a line, in the order of ids.
func (c *call) truth(object string) {
	st := c.s.stores[object]
	if st == nil {
		if rows := c.s.TruthSet(object); rows != nil {
			writeLines(c, rows)
			return
		}
	}
	if st == nil {
		c.json(404, map[string]string{"message": "no such object"})
		return
	}
	c.header().Set("Content-Type", "application/x-ndjson")
	w := bufio.NewWriterSize(c.w, 1<<16)
	var line []byte
	for from := uint64(0); ; {
		var n int
		c.s.schemaMu.RLock()
		line, from, n = st.appendTruth(line[:0], from)
		c.s.schemaMu.RUnlock()
		if n == 0 {
			break
		}
		if _, err := w.Write(line); err != nil {
			return
		}
	}
	_ = w.Flush()
}

// appendTruth appends up to a thousand records from an id on.
func (st *store) appendTruth(b []byte, from uint64) (_ []byte, next uint64, n int) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	rs := st.order[st.from(from):]
	rs = rs[:min(len(rs), 1000)]
	for _, r := range rs {
		b = fmt.Appendf(b, `{"id":"%d","state":"%s","updatedAt":"`, r.id, r.state)
		b = appendTime(b, r.cur.at)
		b = append(b, '"')
		if r.state == archived {
			b = append(appendTime(append(b, `,"archivedAt":"`...), r.gone), '"')
		}
		if r.state == merged {
			b = fmt.Appendf(b, `,"mergedInto":"%d"`, st.merges[r.id])
		}
		b = append(b, `,"properties":{`...)
		for i, p := range st.sc.props {
			if r.state >= purged {
				break
			}
			if p.hidden {
				continue
			}
			key := p.key
			if i == 0 {
				key = key[1:]
			}
			b = append(b, key...)
			v := st.sc.text(r, r.cur, i)
			if v == nil {
				b = append(b, "null"...)
				continue
			}
			b = append(appendEscaped(append(b, '"'), *v), '"')
		}
		b = append(b, "}}\n"...)
		next = r.id + 1
	}
	return b, next, len(rs)
}

func (c *call) changeRecords(object string) {
	var in struct {
		Create       int                `json:"create"`
		Change       int                `json:"change"`
		At           int64              `json:"at"`
		VisibleAfter *duration          `json:"visible_after"`
		IDs          []string           `json:"ids"`
		Properties   map[string]*string `json:"properties"`
		Archive      []string           `json:"archive"`
		Restore      []string           `json:"restore"`
		Delete       []string           `json:"delete"`
		Merge        []Merge            `json:"merge"`
		Hide         []string           `json:"hide"`
	}
	if !c.decode(&in) {
		return
	}
	if c.r.ContentLength == 0 {
		in.Change = 1
	}
	ids, err := c.s.Change(object, Change{
		Create: in.Create, Change: in.Change, At: in.At, VisibleAfter: (*time.Duration)(in.VisibleAfter),
		IDs: in.IDs, Properties: in.Properties, Archive: in.Archive, Restore: in.Restore, Delete: in.Delete, Merge: in.Merge, Hide: in.Hide,
	})
	if ids == nil {
		ids = []string{}
	}
	switch {
	case errors.Is(err, ErrUnknownRecord) || errors.Is(err, ErrUnknownProperty):
		c.json(400, map[string]any{"message": err.Error(), "ids": ids})
	case err != nil:
		c.json(500, map[string]any{"message": err.Error(), "ids": ids})
	default:
		c.json(200, map[string]any{"ids": ids})
	}
}

// switchOver changes what the body names and leaves the rest.
func (c *call) switchOver() {
	var in struct {
		Rate           *float64            `json:"rate"`
		StaleReads     *float64            `json:"stale_reads"`
		Latency        *duration           `json:"latency"`
		SearchLateness *duration           `json:"search_lateness"`
		Limits         *bool               `json:"limits"`
		StrictBodies   *bool               `json:"strict_bodies"`
		Token          *string             `json:"token"`
		JournalSecret  *string             `json:"journal_secret"`
		LoseJournal    bool                `json:"lose_journal"`
		Unauthorized   *bool               `json:"unauthorized"`
		DailyRemaining *int                `json:"daily_remaining"`
		ScopesMissing  map[string][]string `json:"scopes_missing"`
		Missing        *Missing            `json:"missing"`
		OpaqueAfter    map[string]bool     `json:"opaque_after"`
		RestoreKeeps   *bool               `json:"restore_keeps_time"`
		MergedArchived *bool               `json:"merged_archived"`
		BatchSurvivor  *bool               `json:"batch_gives_survivor"`
		SensitiveScope *bool               `json:"sensitive_scope"`
		RotateRefresh  *bool               `json:"rotate_refresh"`
		NewestJoined   *bool               `json:"newest_joined_first"`
		ShortPages     *float64            `json:"short_pages"`
		RepeatCursor   *float64            `json:"repeat_cursor"`
		Unordered      *float64            `json:"unordered"`
		ExpireTokens   bool                `json:"expire_tokens"`
		RevokeRefresh  bool                `json:"revoke_refresh"`
		Versions       []string            `json:"versions"`
	}
	if !c.decode(&in) {
		return
	}
	c.s.change(func(w *switches) {
		put(&w.faultRate, in.Rate)
		put(&w.staleReads, in.StaleReads)
		put(&w.latency, (*time.Duration)(in.Latency))
		put(&w.searchLateness, (*time.Duration)(in.SearchLateness))
		put(&w.limits, in.Limits)
		put(&w.strictBodies, in.StrictBodies)
		put(&w.token, in.Token)
		put(&w.journalSecret, in.JournalSecret)
		put(&w.unauthorized, in.Unauthorized)
		put(&w.missing, in.Missing)
		put(&w.restoreKeepsTime, in.RestoreKeeps)
		put(&w.mergedArchived, in.MergedArchived)
		put(&w.batchGivesSurvivor, in.BatchSurvivor)
		put(&w.sensitiveScope, in.SensitiveScope)
		put(&w.rotateRefresh, in.RotateRefresh)
		put(&w.newestJoinedFirst, in.NewestJoined)
		put(&w.shortPages, in.ShortPages)
		put(&w.repeatCursor, in.RepeatCursor)
		put(&w.unordered, in.Unordered)
		if in.ScopesMissing != nil {
			w.scopesMissing = in.ScopesMissing
		}
		if in.OpaqueAfter != nil {
			w.opaqueAfter = in.OpaqueAfter
		}
		if in.Versions != nil {
			w.versions = in.Versions
		}
	})
	if in.SensitiveScope != nil {
		c.s.redefineAll()
	}
	if in.ExpireTokens || in.RevokeRefresh {
		c.s.expire(c.now, in.RevokeRefresh)
	}
	if in.LoseJournal {
		c.s.LoseJournal()
	}
	if in.DailyRemaining != nil {
		c.s.setDailyRemaining(*in.DailyRemaining)
	}
	c.json(200, map[string]bool{"ok": true})
}

func put[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
