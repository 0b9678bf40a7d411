package simulator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func guid(h uint64) string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", h>>32, h>>16&0xffff, h&0xfff, h>>4&0xfff, mix(h)>>16)
}

func drawn(k kind, h uint64) string { return string(appendDrawn(nil, k, h|64)) }

func num(i int) string { return strconv.Itoa(1001 + 7*i) }

// setSpecs are all sets; those that others belong to stand before them.
func (s *Simulator) setSpecs() []setSpec {
	specs := accountSets()
	specs = append(specs, listSets()...)
	specs = append(specs, marketingSets()...)
	specs = append(specs, eventSets()...)
	return append(specs, splitSet())
}

func accountSets() []setSpec {
	return []setSpec{
		{name: "owners", paths: []string{"crm/owners/2026-09", "crm/owners/v3"}, results: "results", style: pageAfter, def: 100, max: 500,
			key: "id", size: 120, archived: true, time: "updatedAt", mutable: "lastName",
			make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "email": drawn(kindEmail, h), "firstName": drawn(kindWord, h), "lastName": drawn(kindWord, h>>9),
					"userId": 5000 + i, "userIdIncludingInactive": 5000 + i, "type": "PERSON", "archived": false, "teams": []any{}}
			},
			shown: func(_ *call, f fields) (fields, bool) {
				if f["archived"] == true { // the user behind it is gone
					f = replaced(f, "userId", nil)
				}
				return f, true
			}},
		{name: "pipelines", paths: []string{"crm/pipelines/2026-09/{p}", "crm/pipelines/v3/{p}"}, results: "results", key: "id", objects: true, size: 2,
			time: "updatedAt", mutable: "label", make: func(i int, h uint64, _ string) fields {
				stage := func(n int, closed string) fields {
					f := fields{"id": fmt.Sprintf("%d0%d", i, n), "label": drawn(kindName, h+uint64(n)), "displayOrder": n, "archived": false,
						"metadata": fields{"isClosed": closed, "probability": "0.5"}, "createdAt": "2025-01-02T03:04:05Z", "updatedAt": "2025-01-02T03:04:05Z"}
					if n == 0 { // those that HubSpot made have no times
						f["createdAt"], f["updatedAt"] = nil, nil
					}
					return f
				}
				return fields{"id": num(i), "label": drawn(kindName, h), "displayOrder": i % 2, "archived": false, "stages": []any{stage(0, "false"), stage(1, "false"), stage(2, "true")}}
			}},
		{name: "account_users", paths: []string{"settings/users/2026-03", "settings/v3/users"}, results: "results", style: pageAfter, def: 100, max: 100,
			key: "id", size: 130, mutable: "firstName", make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "email": drawn(kindEmail, h), "firstName": drawn(kindWord, h), "lastName": drawn(kindWord, h>>9), "roleIds": []string{"1001"}, "superAdmin": i == 0}
			}},
		{name: "roles", paths: []string{"settings/users/2026-03/roles", "settings/v3/users/roles"}, results: "results", key: "id", size: 4, mutable: "name",
			make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "name": drawn(kindName, h), "requiresBillingWrite": false}
			}},
		{name: "teams", paths: []string{"settings/users/2026-03/teams", "settings/v3/users/teams"}, results: "results", key: "id", size: 6, mutable: "name",
			make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "name": drawn(kindName, h), "userIds": []string{num(i)}, "secondaryUserIds": []string{}}
			}},
		{name: "currencies", paths: []string{"settings/currencies/2026-09/company-currency", "settings/v3/currencies/company-currency"}, key: "currencyCode", size: 1,
			time: "updatedAt", mutable: "currencyName", make: func(_ int, _ uint64, _ string) fields {
				return fields{"currencyCode": "EUR", "currencyName": "Euro", "id": "1"}
			}},
		{name: "exchange_rates", paths: []string{"settings/currencies/2026-09/exchange-rates", "settings/v3/currencies/exchange-rates"}, results: "results", style: pageAfter, def: 100, max: 100,
			key: "id", size: 5, time: "updatedAt", mutable: "conversionRate", make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "fromCurrencyCode": []string{"USD", "GBP", "CHF", "SEK", "JPY"}[i%5], "toCurrencyCode": "EUR", "conversionRate": float64(h%2000) / 1000, "visibleInUI": true}
			}},
		{name: "api_usage", paths: []string{"account-info/2026-09/api-usage/daily/private-apps", "account-info/v3/api-usage/daily/private-apps"}, results: "results", key: "name", size: 1,
			make: func(_ int, _ uint64, _ string) fields { return fields{"name": "private-apps-api-calls-daily"} },
			answer: func(c *call, _ *set, _ string) {
				l := &c.s.limits
				l.mu.Lock()
				used := l.used
				l.mu.Unlock()
				reset := (dayOf(c.now) + 1) * dayMS
				c.replyJSON(map[string]any{"results": []fields{{"name": "private-apps-api-calls-daily", "usageLimit": c.s.o.Daily, "currentUsage": used,
					"collectedAt": string(appendTime(nil, c.now.UnixMilli())), "resetsAt": string(appendTime(nil, reset)), "fetchStatus": "SUCCESS"}}})
			}},
		{name: "workflows", paths: []string{"automation/v4/flows", "automation/v3/workflows=workflows"}, results: "results", style: pageAfter, def: 100, max: 100,
			key: "id", size: 110, time: "updatedAt", mutable: "name", make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "name": drawn(kindName, h), "isEnabled": h%2 == 0, "flowType": "WORKFLOW", "objectTypeId": "0-1", "revisionId": strconv.Itoa(int(h % 40)), "uuid": guid(h)}
			}},
	}
}

func listSets() []setSpec {
	return []setSpec{
		{name: "lists", paths: []string{"crm/lists/2026-09/search", "crm/lists/v3/search"}, results: "lists", key: "listId", size: 40, post: true,
			time: "updatedAt", mutable: "name", answer: (*call).searchLists, make: func(i int, h uint64, _ string) fields {
				return fields{"listId": num(i), "name": drawn(kindName, h) + " " + num(i), "objectTypeId": "0-1", "processingType": []string{"MANUAL", "DYNAMIC"}[h%2],
					"processingStatus": "COMPLETE", "listVersion": 1, "archived": false, "deletedAt": nil}
			}},
		{name: "list_memberships", joined: true, paths: []string{"crm/lists/2026-09/{p}/memberships/join-order", "crm/lists/v3/{p}/memberships/join-order", "crm/lists/2026-09/{p}/memberships", "crm/lists/v3/{p}/memberships"}, results: "results", style: pageAfter, def: 100, max: 250,
			key: "recordId", parent: "lists", size: 12, time: "membershipTimestamp", make: func(i int, _ uint64, _ string) fields {
				return fields{"recordId": num(i)}
			}},
		{name: "forms", paths: []string{"marketing/v3/forms"}, results: "results", style: pageAfter, def: 50, max: 100,
			key: "id", size: 9, archived: true, time: "updatedAt", mutable: "name", make: func(i int, h uint64, _ string) fields {
				return fields{"id": guid(h), "name": drawn(kindName, h), "formType": []string{"hubspot", "captured", "blog_comment"}[i%3], "archived": false,
					"fieldGroups": []any{}, "configuration": fields{"language": "en"}}
			}},
		{name: "form_submissions", paths: []string{"form-integrations/v1/submissions/forms/{p}"}, results: "results", style: pageAfter, def: 20, max: 50,
			key: "key", parent: "forms", size: 70, newest: true, time: "submittedAt", milli: true, make: func(i int, h uint64, _ string) fields {
				return fields{"key": num(i), "values": []any{fields{"name": "email", "value": drawn(kindEmail, h), "objectTypeId": "0-1"}}, "pageUrl": "https://example.com/" + num(i)}
			},
			shown: func(_ *call, f fields) (fields, bool) { return without(f, "key"), true },
			answer: func(c *call, st *set, parent string) {
				if !slices.Contains(c.s.set("forms").liveIDs(), parent) {
					c.fail(404, "", "Form with guid "+parent+" could not be found", "")
					return
				}
				if c.s.set("forms").member(parent, "formType") == "blog_comment" {
					c.fail(400, "", "This form type is not allowed", `"errors":[{"message":"This form type is not allowed","errorType":"FORM_TYPE_NOT_ALLOWED"}]`)
					return
				}
				if rows, ok := c.rowsOf(st, parent); ok {
					c.pageAfter(st, rows, st.results)
				}
			}},
	}
}

// member is a member of a row.
func (st *set) member(id, name string) any {
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, r := range st.rows {
		if r.id == id {
			return r.fields[name]
		}
	}
	return nil
}

func without(f fields, name string) fields {
	out := make(fields, len(f))
	for k, v := range f {
		if k != name {
			out[k] = v
		}
	}
	return out
}

// searchLists answers the search for lists: a page by count and offset, and
// counters only where they are asked for. A deleted list stays, with the time.
func (c *call) searchLists(st *set, _ string) {
	body, ok := c.body()
	if !ok {
		return
	}
	in := struct {
		Count, Offset int
		Additional    []string `json:"additionalProperties"`
	}{Count: 20}
	if err := json.Unmarshal(body, &in); err != nil {
		c.invalid("Invalid input JSON on line 1: " + err.Error())
		return
	}
	if in.Count < 1 || in.Count > 500 || in.Offset < 0 || in.Offset > maxResults {
		c.invalid("Invalid input: count has to be between 1 and 500, offset at most 10000")
		return
	}
	st.mu.RLock()
	var rows []setRow
	for _, r := range st.rows {
		if r.state < purged {
			rows = append(rows, *r)
		}
	}
	st.mu.RUnlock()
	page := rows[min(in.Offset, len(rows)):min(in.Offset+c.short(in.Count, false), len(rows))]
	next := in.Offset + len(page)
	if in.Offset > 0 && c.repeats() {
		next = in.Offset
	}
	out := make([]fields, 0, len(page))
	for _, r := range c.unordered(page) {
		f := without(r.fields, "archived")
		if r.state == archived {
			f["deletedAt"] = string(appendTime(nil, r.gone))
		}
		f["additionalProperties"] = c.s.counters(r.id, in.Additional)
		out = append(out, f)
	}
	c.replyJSON(map[string]any{"lists": out, "offset": next, "hasMore": in.Offset+len(page) < len(rows), "total": len(rows)})
}

// counters are what a list tells of its members.
func (s *Simulator) counters(list string, names []string) fields {
	var size int
	var added, removed int64
	ms := s.set("list_memberships")
	ms.mu.RLock()
	for _, r := range ms.rows {
		switch {
		case r.parent != list:
		case r.state == live:
			size, added = size+1, max(added, r.at)
		default:
			removed = max(removed, r.gone)
		}
	}
	ms.mu.RUnlock()
	all := fields{"hs_list_size": strconv.Itoa(size), "hs_last_record_added_at": strconv.FormatInt(added, 10), "hs_last_record_removed_at": strconv.FormatInt(removed, 10)}
	out := fields{}
	for n, v := range all {
		if len(names) == 0 || slices.Contains(names, n) {
			out[n] = v
		}
	}
	return out
}

// withStatistics adds how an email did.
func withStatistics(f fields) fields {
	h := hashString(fmt.Sprint(f["id"]))
	f = without(f, "")
	f["stats"] = fields{"counters": fields{"sent": h % 5000, "open": h % 900, "click": h % 90}}
	return f
}

func marketingSets() []setSpec {
	return []setSpec{
		{name: "marketing_emails", paths: []string{"marketing/emails/2026-09", "marketing/v3/emails"}, results: "results", style: pageAfter, def: 10, max: 100,
			key: "id", size: 60, archived: true, time: "updatedAt", from: "updatedAfter", to: "updatedBefore", mutable: "subject",
			make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "name": drawn(kindName, h), "subject": drawn(kindText, h), "state": []string{"PUBLISHED", "DRAFT", "SCHEDULED"}[h%3], "type": "BATCH_EMAIL", "archived": false}
			},
			shown: func(c *call, f fields) (fields, bool) {
				if c.r.URL.Query().Get("includeStats") != "true" {
					return f, true
				}
				if f["state"] == "DRAFT" { // left out, without a word
					return f, false
				}
				return withStatistics(f), true
			}},
		{name: "campaigns", paths: []string{"marketing/campaigns/2026-09", "marketing/v3/campaigns"}, results: "results", style: pageAfter, def: 50, max: 100,
			key: "id", size: 25, time: "updatedAt", mutable: "name", make: func(_ int, h uint64, _ string) fields {
				return fields{"id": guid(h), "businessUnits": []any{}, "properties": fields{"hs_name": drawn(kindName, h), "hs_campaign_status": "in_progress", "hs_notes": drawn(kindText, h)}}
			},
			shown: func(c *call, f fields) (fields, bool) {
				asked := strings.Split(names(c.r.URL.Query(), "properties"), ",")
				all, _ := f["properties"].(fields)
				some := fields{}
				for n, v := range all {
					if slices.Contains(asked, n) {
						some[n] = v
					}
				}
				f = without(f, "properties")
				f["properties"] = some
				return f, true
			}},
		{name: "marketing_events", paths: []string{"marketing/marketing-events/2026-09", "marketing/v3/marketing-events"}, results: "results", style: pageAfter, def: 10, max: 100,
			key: "objectId", size: 8, time: "updatedAt", mutable: "eventName", make: func(i int, h uint64, _ string) fields {
				return fields{"objectId": num(i), "eventName": drawn(kindName, h), "eventType": "WEBINAR", "eventOrganizer": "Example", "eventCancelled": false, "customProperties": []any{}}
			}},
		{name: "marketing_event_participants", paths: []string{"marketing/marketing-events/2026-09/participations/{p}/breakdown", "marketing/v3/marketing-events/participations/{p}/breakdown"},
			results: "results", style: pageAfter, def: 10, max: 100, key: "id", parent: "marketing_events", size: 30, time: "createdAt", mutable: "note", make: func(i int, h uint64, parent string) fields {
				return fields{"id": num(i), "associations": fields{"contact": fields{"contactId": strconv.Itoa(i), "email": drawn(kindEmail, h)}, "marketingEvent": fields{"marketingEventId": parent}},
					"properties": fields{"attendanceState": []string{"REGISTERED", "ATTENDED", "CANCELLED"}[h%3], "occurredAt": firstDay + int64(h%(9000*dayMS))}}
			}},
		{name: "conversation_inboxes", paths: []string{"conversations/conversations/2026-09/inboxes", "conversations/v3/conversations/inboxes"}, results: "results", style: pageAfter, def: 100, max: 100,
			key: "id", size: 3, archived: true, time: "updatedAt", mutable: "name", make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "name": drawn(kindName, h), "type": "INBOX", "archived": false}
			}},
		{name: "conversation_threads", paths: []string{"conversations/conversations/2026-09/threads", "conversations/v3/conversations/threads"}, results: "results", style: pageAfter, def: 100, max: 500,
			key: "id", size: 20, archived: true, time: "latestMessageTimestamp", from: "latestMessageTimestampAfter", mutable: "status", make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "inboxId": "1001", "status": []string{"OPEN", "CLOSED"}[h%2], "spam": false, "archived": false, "createdAt": "2025-01-02T03:04:05Z", "associatedContactId": strconv.Itoa(i)}
			}},
		{name: "conversation_messages", paths: []string{"conversations/conversations/2026-09/threads/{p}/messages", "conversations/v3/conversations/threads/{p}/messages"}, results: "results", style: pageAfter, def: 100, max: 100,
			key: "id", parent: "conversation_threads", size: 8, time: "createdAt", mutable: "text", make: func(_ int, h uint64, _ string) fields {
				return fields{"id": guid(h), "type": "MESSAGE", "text": drawn(kindText, h), "direction": "INCOMING", "senders": []any{}, "recipients": []any{}, "archived": false}
			}},
	}
}

func eventSets() []setSpec {
	return []setSpec{
		{name: "email_events", paths: []string{"email/public/v1/events"}, results: "events", style: pageOffset, def: 100, max: 1000, key: "id", size: 2300, newest: true,
			time: "created", milli: true, from: "startTimestamp", to: "endTimestamp", make: func(i int, h uint64, _ string) fields {
				f := fields{"id": guid(h), "type": []string{"SENT", "DELIVERED", "OPEN", "CLICK", "SUPPRESSED", ""}[h%6], "recipient": drawn(kindEmail, h), "emailCampaignId": 1001 + i%7, "appId": 113}
				if f["type"] == "" { // an unbounce has no type
					delete(f, "type")
				}
				return f
			}},
		{name: "subscription_changes", paths: []string{"email/public/v1/subscriptions/timeline"}, results: "timeline", style: pageOffset, def: 100, max: 1000, key: "key", size: 150, newest: true,
			time: "timestamp", milli: true, from: "startTimestamp", to: "endTimestamp", make: func(i int, h uint64, _ string) fields {
				return fields{"key": num(i), "recipient": drawn(kindEmail, h), "portalId": 4711001, "changes": []any{fields{"change": "SUBSCRIBED", "source": "SOURCE_RECIPIENT", "changeType": "SUBSCRIPTION_STATUS"}}}
			}, shown: func(_ *call, f fields) (fields, bool) { return without(f, "key"), true }},
		{name: "email_campaigns", paths: []string{"email/public/v1/campaigns"}, results: "campaigns", style: pageOffset, def: 100, max: 500, key: "id", size: 7,
			time: "lastUpdatedTime", milli: true, mutable: "name", make: func(i int, h uint64, _ string) fields {
				return fields{"id": 1001 + i, "appId": 113, "appName": "Batch", "name": drawn(kindName, h)}
			}},
		{name: "subscription_definitions", paths: []string{"communication-preferences/2026-09/definitions", "communication-preferences/v4/definitions", "communication-preferences/v3/definitions=subscriptionDefinitions"},
			results: "results", key: "id", size: 5, time: "updatedAt", mutable: "name", make: func(i int, h uint64, _ string) fields {
				return fields{"id": num(i), "name": drawn(kindName, h), "description": drawn(kindText, h), "purpose": "Marketing", "isActive": true, "isDefault": i == 0, "isInternal": false, "communicationMethod": "Email"}
			}},
		{name: "subscription_statuses", paths: []string{"communication-preferences/2026-09/statuses/batch/read", "communication-preferences/v4/statuses/batch/read"}, results: "results", key: "subscriberIdString", post: true,
			make: func(_ int, _ uint64, _ string) fields { return fields{} }, answer: (*call).statuses},
		{name: "events", paths: []string{"events/event-occurrences/2026-09", "events/v3/events"}, results: "results", style: pageAfter, def: 10, max: 100, key: "id", size: 220, newest: true,
			time: "occurredAt", from: "occurredAfter", to: "occurredBefore", make: func(i int, h uint64, _ string) fields {
				return fields{"id": guid(h), "eventType": "e_visited_page", "objectType": []string{"CONTACT", "CONTACT", "CONTACT", "COMPANY", "DEAL", "TICKET"}[i%6], "objectId": strconv.Itoa(i % 50), "properties": fields{"hs_url": "https://example.com/" + num(i%9)}}
			},
			answer: func(c *call, st *set, parent string) {
				q := c.r.URL.Query()
				if q.Get("objectType") == "" && q.Get("objectId") == "" && q.Get("eventType") == "" {
					c.invalid("Invalid input: objectType, objectId or eventType is required")
					return
				}
				rows, ok := c.rowsOf(st, parent)
				if of := q.Get("objectType"); of != "" {
					rows = slices.DeleteFunc(rows, func(r setRow) bool { return !strings.EqualFold(fmt.Sprint(r.fields["objectType"]), of) })
				}
				if ok {
					c.pageAfter(st, rows, st.results)
				}
			}},
	}
}

// statuses answers what up to 100 people have subscribed to: what their
// addresses say, so that the same one has the same statuses.
func (c *call) statuses(_ *set, _ string) {
	body, ok := c.body()
	if !ok {
		return
	}
	var in struct{ Inputs []string }
	err := json.Unmarshal(body, &in)
	switch {
	case err != nil:
		c.invalid("Invalid input JSON on line 1: " + err.Error())
		return
	case len(in.Inputs) > maxBatch:
		c.invalid("The maximum number of inputs supported is 100")
		return
	case c.r.URL.Query().Get("channel") != "EMAIL":
		c.invalid("Invalid input: channel is required")
		return
	}
	results := make([]fields, 0, len(in.Inputs))
	for _, mail := range in.Inputs {
		results = append(results, fields{"subscriberIdString": mail, "statuses": c.s.statusesOf(mail)})
	}
	c.replyJSON(map[string]any{"status": "COMPLETE", "results": results})
}

func (s *Simulator) statusesOf(mail string) []fields {
	var out []fields
	for _, id := range s.set("subscription_definitions").liveIDs() {
		h := mix(hashString(mail + id))
		n, _ := strconv.Atoi(id)
		out = append(out, fields{"channel": "EMAIL", "subscriberIdString": mail, "subscriptionId": n, "source": "Form",
			"status": []string{"SUBSCRIBED", "UNSUBSCRIBED", "NOT_SPECIFIED"}[h%3], "timestamp": string(appendTime(nil, firstDay+int64(h%(9000*dayMS))))})
	}
	return out
}
