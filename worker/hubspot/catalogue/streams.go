package catalogue

import (
	"net/http"
	"time"
)

// otherRows are the streams that do not share the contract of the CRM's
// objects. Versions without a date are named where no dated one is released.
func otherRows() []Object {
	rows := accountRows()
	rows = append(rows, definitionRows()...)
	rows = append(rows, marketingRows()...)
	rows = append(rows, emailRows()...)
	return append(rows, relationRows()...)
}

// get returns a GET of these addresses, keyed by id and stamped with updatedAt:
// what most of them have in common.
func get(addresses ...Address) Endpoint {
	return Endpoint{Method: http.MethodGet, Addresses: addresses, Key: []string{"id"}, Time: "updatedAt"}
}

func at(version, path string, paging Paging, size int, results string) Address {
	return Address{Version: version, Path: path, Paging: paging, PageSize: size, Results: results}
}

func row(name string, s Strategy, every time.Duration, e Endpoint, scopes ...string) Object {
	o := Object{Name: name, Strategy: s, Ready: true, Interval: every, Endpoint: e, Scopes: scopes}
	if e.End == EndArchivedPass {
		o.Deletions = Archived
	}
	return o
}

func (e Endpoint) with(change func(*Endpoint)) Endpoint {
	change(&e)
	return e
}

// archivedPass, untimed and of are what rows often differ in.
func archivedPass(e *Endpoint) { e.End = EndArchivedPass }
func untimed(e *Endpoint)      { e.Time = "" }

func of(stream string, key ...string) func(*Endpoint) {
	return func(e *Endpoint) {
		e.Parent, e.Key = Parent{Kind: ParentStream, Stream: stream}, key
	}
}

func accountRows() []Object {
	quarter, hour, sixHours := 15*time.Minute, time.Hour, 6*time.Hour
	single := func(e *Endpoint) { e.Key, e.Time = nil, "" }
	return []Object{
		row("owners", StrategyWhole, quarter, get(
			at("2026-09", "/crm/owners/2026-09", PagingAfter, 500, "results"),
			at("v3", "/crm/v3/owners", PagingAfter, 500, "results"),
		).with(archivedPass), "crm.objects.owners.read"),
		row("account_users", StrategyWhole, sixHours, get(
			at("2026-03", "/settings/users/2026-03", PagingAfter, 100, "results"),
			at("v3", "/settings/v3/users", PagingAfter, 100, "results"),
		).with(untimed), "settings.users.read").instead("crm.objects.users.read"),
		row("roles", StrategyWhole, sixHours, get(
			at("2026-03", "/settings/users/2026-03/roles", PagingNone, 0, "results"),
			at("v3", "/settings/v3/users/roles", PagingNone, 0, "results"),
		).with(untimed), "settings.users.read"),
		row("teams", StrategyWhole, sixHours, get(
			at("2026-03", "/settings/users/2026-03/teams", PagingNone, 0, "results"),
			at("v3", "/settings/v3/users/teams", PagingNone, 0, "results"),
		).with(untimed), "settings.users.teams.read"),
		row("currencies", StrategyWhole, hour, get(
			at("2026-09", "/settings/currencies/2026-09/company-currency", PagingNone, 0, ""),
			at("v3", "/settings/v3/currencies/company-currency", PagingNone, 0, ""),
		).with(func(e *Endpoint) { e.Key = []string{"currencyCode"} }), "settings.currencies.read"),
		row("exchange_rates", StrategyWhole, hour, get(
			at("2026-09", "/settings/currencies/2026-09/exchange-rates", PagingAfter, 100, "results"),
			at("v3", "/settings/v3/currencies/exchange-rates", PagingAfter, 100, "results"),
		), "settings.currencies.read"),
		row("account", StrategyWhole, hour, get(
			at("2026-09", "/account-info/2026-09/details", PagingNone, 0, ""),
			at("v3", "/account-info/v3/details", PagingNone, 0, ""),
		).with(func(e *Endpoint) { e.Key, e.Time = []string{"portalId"}, "" }), "oauth"),
		row("api_usage", StrategyWhole, hour, get(
			at("2026-09", "/account-info/2026-09/api-usage/daily/private-apps", PagingNone, 0, "results"),
			at("v3", "/account-info/v3/api-usage/daily/private-apps", PagingNone, 0, "results"),
		).with(func(e *Endpoint) {
			single(e)
			e.Key, e.Volatile = []string{"name"}, []string{"collectedAt"}
		}), "oauth"),
		row("workflows", StrategyWhole, sixHours, get(
			at("v4", "/automation/v4/flows", PagingAfter, 100, "results"),
			at("v3", "/automation/v3/workflows", PagingNone, 0, "workflows"),
		), "automation"),
	}
}

func definitionRows() []Object {
	quarter, hour := 15*time.Minute, time.Hour
	perObject := func(key ...string) func(*Endpoint) {
		return func(e *Endpoint) { e.Parent, e.Key = Parent{Kind: ParentObjectTypes}, key }
	}
	return []Object{
		row("pipelines", StrategyPerParent, quarter, get(
			at("2026-09", "/crm/pipelines/2026-09/{parent}", PagingNone, 0, "results"),
			at("v3", "/crm/v3/pipelines/{parent}", PagingNone, 0, "results"),
		).with(perObject("{parent}", "id")), "crm.schemas.deals.read"),
		row("properties", StrategyPerParent, hour, get(
			at("2026-09", "/crm/properties/2026-09/{parent}", PagingNone, 0, "results"),
			at("v3", "/crm/v3/properties/{parent}", PagingNone, 0, "results"),
		).with(perObject("{parent}", "name")).with(archivedPass), "crm.schemas.contacts.read"),
		row("schemas", StrategyWhole, hour, get(
			at("2026-09", "/crm-object-schemas/2026-09/schemas", PagingNone, 0, "results"),
			at("v3", "/crm/v3/schemas", PagingNone, 0, "results"),
		).with(archivedPass).with(func(e *Endpoint) { e.Key = []string{"objectTypeId"} }), "crm.schemas.custom.read"),
		row("association_labels", StrategyPerParent, hour, get(
			at("2026-09", "/crm/associations/2026-09/{from}/{to}/labels", PagingNone, 0, "results"),
			at("v4", "/crm/v4/associations/{from}/{to}/labels", PagingNone, 0, "results"),
		).with(func(e *Endpoint) {
			e.Parent, e.Key, e.Time = Parent{Kind: ParentPairs}, []string{"{parent}", "category", "typeId"}, ""
		}), "crm.schemas.contacts.read"),
	}
}

func marketingRows() []Object {
	quarter, hour, sixHours := 15*time.Minute, time.Hour, 6*time.Hour
	emails := get(
		at("2026-09", "/marketing/emails/2026-09", PagingAfter, 100, "results"),
		at("v3", "/marketing/v3/emails", PagingAfter, 100, "results"),
	).with(archivedPass).with(func(e *Endpoint) { e.From, e.To = "updatedAfter", "updatedBefore" })
	lists := Endpoint{
		Method: http.MethodPost, PageInBody: true,
		Addresses: []Address{
			at("2026-09", "/crm/lists/2026-09/search", PagingOffset, 500, "lists"),
			at("v3", "/crm/v3/lists/search", PagingOffset, 500, "lists"),
		},
		Body: []Param{{"query", `""`}, {"sort", `"HS_LIST_ID"`}, {"additionalProperties", `["hs_list_size","hs_last_record_added_at","hs_last_record_removed_at"]`}},
		Key:  []string{"listId"}, Time: "updatedAt", MaxOffset: 10000, End: EndField, EndField: "deletedAt",
	}
	members := get(
		at("2026-09", "/crm/lists/2026-09/{parent}/memberships/join-order", PagingAfter, 250, "results"),
		at("v3", "/crm/v3/lists/{parent}/memberships/join-order", PagingAfter, 250, "results"),
	).with(of("lists", "{parent}", "recordId")).with(func(e *Endpoint) {
		e.Time = "membershipTimestamp"
		e.Parent.Changed = []string{"additionalProperties.hs_list_size", "additionalProperties.hs_last_record_added_at", "additionalProperties.hs_last_record_removed_at"}
		e.Parent.Settled = Param{"processingStatus", "COMPLETE"}
	})
	return []Object{
		row("lists", StrategyWhole, quarter, lists, "crm.lists.read"),
		row("list_memberships", StrategyPerParent, hour, members, "crm.lists.read"),
		row("forms", StrategyWhole, hour, get(
			at("v3", "/marketing/v3/forms", PagingAfter, 100, "results"),
		).with(archivedPass).with(func(e *Endpoint) { e.Query = []Param{{"formTypes", "all"}} }), "forms"),
		row("form_submissions", StrategyLog, quarter, get(
			at("v1", "/form-integrations/v1/submissions/forms/{parent}", PagingAfter, 50, "results"),
		).with(of("forms", "{parent}", "submittedAt")).with(func(e *Endpoint) {
			e.KeyHash, e.Time, e.Clock, e.End = true, "submittedAt", Milli, EndNever
		}), "forms"),
		row("marketing_emails", StrategyWhole, hour, emails, "marketing.email.read").instead("content"),
		row("marketing_email_statistics", StrategyWhole, sixHours, emails.with(func(e *Endpoint) {
			e.Query, e.Partial, e.From, e.To = []Param{{"includeStats", "true"}}, true, "", ""
		}), "marketing.email.read").instead("content"),
		row("campaigns", StrategyWhole, hour, get(
			at("2026-09", "/marketing/campaigns/2026-09", PagingAfter, 100, "results"),
			at("v3", "/marketing/v3/campaigns", PagingAfter, 100, "results"),
		).with(func(e *Endpoint) {
			e.Query = []Param{{"properties", "hs_name,hs_campaign_status,hs_start_date,hs_end_date,hs_owner,hs_notes,hs_budget_items_sum_amount"}}
		}), "marketing.campaigns.read"),
		row("marketing_events", StrategyWhole, hour, get(
			at("2026-09", "/marketing/marketing-events/2026-09", PagingAfter, 100, "results"),
			at("v3", "/marketing/v3/marketing-events", PagingAfter, 100, "results"),
		).with(func(e *Endpoint) { e.Key = []string{"objectId"} }), "crm.objects.marketing_events.read"),
		row("marketing_event_participants", StrategyPerParent, hour, get(
			at("2026-09", "/marketing/marketing-events/2026-09/participations/{parent}/breakdown", PagingAfter, 100, "results"),
			at("v3", "/marketing/v3/marketing-events/participations/{parent}/breakdown", PagingAfter, 100, "results"),
		).with(of("marketing_events", "{parent}", "id")).with(func(e *Endpoint) {
			e.Time, e.Clock = "properties.occurredAt", Milli
		}), "crm.objects.marketing_events.read"),
		row("conversation_inboxes", StrategyWhole, hour, get(
			at("2026-09", "/conversations/conversations/2026-09/inboxes", PagingAfter, 100, "results"),
			at("v3", "/conversations/v3/conversations/inboxes", PagingAfter, 100, "results"),
		).with(archivedPass), "conversations.read"),
		row("conversation_threads", StrategyWhole, quarter, get(
			at("2026-09", "/conversations/conversations/2026-09/threads", PagingAfter, 100, "results"),
			at("v3", "/conversations/v3/conversations/threads", PagingAfter, 100, "results"),
		).with(archivedPass).with(func(e *Endpoint) { e.Time, e.From = "latestMessageTimestamp", "latestMessageTimestampAfter" }), "conversations.read"),
		row("conversation_messages", StrategyPerParent, quarter, get(
			at("2026-09", "/conversations/conversations/2026-09/threads/{parent}/messages", PagingAfter, 100, "results"),
			at("v3", "/conversations/v3/conversations/threads/{parent}/messages", PagingAfter, 100, "results"),
		).with(of("conversation_threads", "{parent}", "id")).with(func(e *Endpoint) {
			e.Time, e.Parent.Changed = "createdAt", []string{"latestMessageTimestamp"}
		}), "conversations.read"),
	}
}

func emailRows() []Object {
	five, hour, day := 5*time.Minute, time.Hour, 24*time.Hour
	window := func(key, time string) func(*Endpoint) {
		return func(e *Endpoint) {
			e.Key, e.Time, e.Clock = []string{key, time}, time, Milli
			e.From, e.To, e.End = "startTimestamp", "endTimestamp", EndNever
		}
	}
	return []Object{
		row("email_events", StrategyWindowed, five, get(
			at("v1", "/email/public/v1/events", PagingOffset, 1000, "events"),
		).with(window("id", "created")), "content"),
		row("subscription_changes", StrategyWindowed, five, get(
			at("v1", "/email/public/v1/subscriptions/timeline", PagingOffset, 1000, "timeline"),
		).with(window("recipient", "timestamp")).with(func(e *Endpoint) { e.KeyHash = true }), "content"),
		row("email_campaigns", StrategyWhole, hour, get(
			at("v1", "/email/public/v1/campaigns", PagingOffset, 500, "campaigns"),
		).with(func(e *Endpoint) { e.Time, e.Clock = "lastUpdatedTime", Milli }), "content"),
		row("subscription_definitions", StrategyWhole, hour, get(
			at("2026-09", "/communication-preferences/2026-09/definitions", PagingNone, 0, "results"),
			at("v4", "/communication-preferences/v4/definitions", PagingNone, 0, "results"),
			at("v3", "/communication-preferences/v3/definitions", PagingNone, 0, "subscriptionDefinitions"),
		), "communication_preferences.read"),
		row("subscription_statuses", StrategyPerParent, day, Endpoint{
			Method: http.MethodPost,
			Addresses: []Address{
				at("2026-09", "/communication-preferences/2026-09/statuses/batch/read", PagingNone, 0, "results"),
				at("v4", "/communication-preferences/v4/statuses/batch/read", PagingNone, 0, "results"),
			},
			Query:  []Param{{"channel", "EMAIL"}},
			Parent: Parent{Kind: ParentStream, Stream: "contacts", Field: "email"},
			Inputs: 100, Parts: "statuses", Key: []string{"subscriberIdString", "statuses.subscriptionId"}, Time: "statuses.timestamp",
		}, "communication_preferences.statuses.batch.read"),
		row("events", StrategyWindowed, five, get(
			at("2026-09", "/events/event-occurrences/2026-09", PagingAfter, 100, "results"),
			at("v3", "/events/v3/events", PagingAfter, 100, "results"),
		).with(func(e *Endpoint) {
			e.Parent, e.ParentQuery = Parent{Kind: ParentEventObjects}, "objectType"
			e.Time, e.From, e.To, e.End = "occurredAt", "occurredAfter", "occurredBefore", EndNever
		}), "oauth"),
	}
}

// relationRows are what belongs to records of the CRM and changes without a
// time of its own.
func relationRows() []Object {
	day := 24 * time.Hour
	associations := row("associations", StrategyPerParent, day, Endpoint{
		Method: http.MethodPost,
		Addresses: []Address{
			at("2026-09", "/crm/associations/2026-09/{from}/{to}/batch/read", PagingInput, 0, "results"),
			at("v4", "/crm/v4/associations/{from}/{to}/batch/read", PagingInput, 0, "results"),
		},
		Parent: Parent{Kind: ParentPairRecords}, Inputs: AssociationsLimit, InputField: "id", InputPath: "from.id",
		Parts: "to", Union: "associationTypes", UnionKey: []string{"category", "typeId"},
		Around: []Param{{"fromObjectType", "{from}"}, {"fromObjectId", "from.id"}, {"toObjectType", "{to}"}, {"toObjectId", "to.toObjectId"}},
		Key:    []string{"{parent}", "fromObjectId", "toObjectId"},
	}, "crm.objects.contacts.read")
	splits := row("deal_splits", StrategyPerParent, day, Endpoint{
		Method:    http.MethodPost,
		Addresses: []Address{at("2026-09", "/deal-splits/2026-09/batch/read", PagingNone, 0, "results")},
		Parent:    Parent{Kind: ParentStream, Stream: "deals"}, Inputs: 100, InputField: "id", InputPath: "id",
		Parts: "splits", Around: []Param{{"dealId", "id"}}, Key: []string{"dealId", "splits.id"},
	}, "crm.dealsplits.read_write")
	splits.OnRequest = true
	return []Object{associations, splits}
}
