package catalogue

import "time"

// crmRows are the objects of the CRM. Objects that HubSpot's own pages address
// by number have that number as their PathName.
func crmRows() []Object {
	const created, hsCreated = "createdate", "hs_createdate"
	const contactsRead, lineItemsRead = "crm.objects.contacts.read", "crm.objects.line_items.read"
	contacts := crm("contacts", "0-1", created, contactsRead)
	contacts.Cursor = "lastmodifieddate"
	return []Object{
		contacts,
		crm("companies", "0-2", created, "crm.objects.companies.read"),
		crm("deals", "0-3", created, "crm.objects.deals.read"),
		crm("tickets", "0-5", created, "tickets"),
		crm("products", "0-7", created, "crm.objects.products.read").instead("e-commerce"),
		crm("line_items", "0-8", created, lineItemsRead).instead("e-commerce"),
		crm("quotes", "0-14", hsCreated, "crm.objects.quotes.read").instead("e-commerce"),
		crm("leads", "0-136", created, "crm.objects.leads.read"),
		crm("goals", "0-74", hsCreated, "crm.objects.goals.read").path("goal_targets"),
		crm("calls", "0-48", hsCreated, contactsRead),
		crm("meetings", "0-47", hsCreated, contactsRead),
		crm("notes", "0-46", hsCreated, contactsRead),
		crm("tasks", "0-27", hsCreated, contactsRead),
		crm("emails", "0-49", hsCreated, contactsRead, "sales-email-read"),
		crm("communications", "0-18", hsCreated, contactsRead),
		crm("postal_mail", "0-116", hsCreated, contactsRead),
		crm("feedback_submissions", "0-19", hsCreated, contactsRead, "crm.objects.feedback_submissions.read"),
		crm("invoices", "0-53", created, "crm.objects.invoices.read"),
		crm("orders", "0-123", created, "crm.objects.orders.read"),
		crm("carts", "0-142", created, "crm.objects.carts.read"),
		crm("subscriptions", "0-69", hsCreated, "crm.objects.subscriptions.read"),
		crm("payments", "0-101", created, "crm.objects.commercepayments.read").path("commerce_payments"),
		crm("users", "0-115", hsCreated, "crm.objects.users.read"),
		crm("appointments", "0-421", hsCreated, "crm.objects.appointments.read").path("0-421"),
		crm("courses", "0-410", hsCreated, "crm.objects.courses.read").path("0-410"),
		crm("listings", "0-420", hsCreated, "crm.objects.listings.read").path("0-420"),
		crm("services", "0-162", hsCreated, "crm.objects.services.read").path("0-162"),
		crm("projects", "0-970", hsCreated, "crm.objects.projects.read").path("0-970").only("2026-03"),
		crm("contracts", "", hsCreated, "crm.objects.contracts.read"),
		crm("discounts", "0-84", hsCreated, lineItemsRead),
		crm("fees", "0-85", hsCreated, lineItemsRead),
		crm("taxes", "0-86", hsCreated, lineItemsRead),
		crm("partner_clients", "", hsCreated, "crm.objects.partner-clients.read"),
	}
}

// crm returns a row with what the objects of the CRM have in common.
func crm(name, typeID, created string, scopes ...string) Object {
	return Object{
		Name: name, PathName: name, TypeID: typeID,
		Strategy: StrategyObjects, Ready: true,
		Cursor: "hs_lastmodifieddate", Created: created,
		Scopes:    scopes,
		Interval:  5 * time.Minute,
		ListLimit: ListLimit, BatchLimit: BatchLimit, SearchLimit: SearchLimit,
		Deletions: Archived,
	}
}

func (o Object) path(name string) Object {
	o.PathName = name
	return o
}

func (o Object) only(version string) Object {
	o.Version = version
	return o
}

func (o Object) instead(scopes ...string) Object {
	o.Instead = scopes
	return o
}
