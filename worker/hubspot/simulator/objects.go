package simulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// furtherObjects are the objects of the CRM beside the first four. Each has a
// few standard properties; what sets one apart is its names, its version and
// its scope.
func furtherObjects() []definition {
	named := standard("hs_name", kindName, "hs_status", kindEnum, "description", kindText, "hubspot_owner_id", kindNumber, "hs_start_date", kindDate)
	money := standard("hs_title", kindName, "amount", kindNumber, "hs_currency", kindWord, "hs_status", kindEnum, "hs_due_date", kindDatetime, "hubspot_owner_id", kindNumber)
	item := standard("name", kindName, "price", kindNumber, "hs_sku", kindWord, "description", kindText, "hs_type", kindEnum)
	activity := standard("hs_timestamp", kindDatetime, "hs_body_preview", kindText, "hubspot_owner_id", kindNumber, "hs_status", kindEnum, "hs_at_mentioned_owner_ids", kindMulti)
	person := standard("hs_given_name", kindName, "hs_family_name", kindName, "hs_email", kindEmail, "hs_job_title", kindName, "hs_deactivated", kindBool)
	const created, hsCreated, contactsRead, lineItemsRead = "createdate", "hs_createdate", "crm.objects.contacts.read", "crm.objects.line_items.read"
	return []definition{
		further("products", "0-7", created, "crm.objects.products.read", item),
		further("line_items", "0-8", created, lineItemsRead, item),
		further("quotes", "0-14", hsCreated, "crm.objects.quotes.read", money),
		further("leads", "0-136", created, "crm.objects.leads.read", named),
		further("goals", "0-74", hsCreated, "crm.objects.goals.read", named).called("goal_targets"),
		further("calls", "0-48", hsCreated, contactsRead, activity),
		further("meetings", "0-47", hsCreated, contactsRead, activity),
		further("notes", "0-46", hsCreated, contactsRead, activity),
		further("tasks", "0-27", hsCreated, contactsRead, activity),
		further("emails", "0-49", hsCreated, "sales-email-read", activity),
		further("communications", "0-18", hsCreated, contactsRead, activity),
		further("postal_mail", "0-116", hsCreated, contactsRead, activity),
		further("feedback_submissions", "0-19", hsCreated, "crm.objects.feedback_submissions.read", activity),
		further("invoices", "0-53", created, "crm.objects.invoices.read", money),
		further("orders", "0-123", created, "crm.objects.orders.read", money),
		further("carts", "0-142", created, "crm.objects.carts.read", money),
		further("subscriptions", "0-69", hsCreated, "crm.objects.subscriptions.read", money),
		further("payments", "0-101", created, "crm.objects.commercepayments.read", money).called("commerce_payments"),
		further("users", "0-115", hsCreated, "crm.objects.users.read", person),
		further("appointments", "0-421", hsCreated, "crm.objects.appointments.read", named),
		further("courses", "0-410", hsCreated, "crm.objects.courses.read", named),
		further("listings", "0-420", hsCreated, "crm.objects.listings.read", named),
		further("services", "0-162", hsCreated, "crm.objects.services.read", named),
		further("projects", "0-970", hsCreated, "crm.objects.projects.read", named).only("2026-03"),
		further("contracts", "0-990", hsCreated, "crm.objects.contracts.read", money),
		further("discounts", "0-84", hsCreated, lineItemsRead, item),
		further("fees", "0-85", hsCreated, lineItemsRead, item),
		further("taxes", "0-86", hsCreated, lineItemsRead, item),
		further("partner_clients", "0-991", hsCreated, "crm.objects.partner-clients.read", named),
	}
}

func further(name, typeID, created, scope string, props []property) definition {
	return definition{name: name, typeID: typeID, singular: strings.ToUpper(strings.TrimSuffix(name, "s")),
		cursor: "hs_lastmodifieddate", created: created, scope: scope, props: slices.Clone(props)}
}

// called gives an object the name that it has in addresses.
func (d definition) called(path string) definition {
	d.paths = append(d.paths, path)
	return d
}

// only binds an object to the one dated version that serves it.
func (d definition) only(version string) definition {
	d.version = version
	return d
}

// customObjects are those that a portal has defined: every size whose name
// begins with p_ makes one. Their numbers go by the order of their names.
func customObjects(o Options) []definition {
	var out []definition
	for _, name := range slices.Sorted(maps.Keys(o.Sizes)) {
		plain, ok := strings.CutPrefix(name, "p_")
		if !ok {
			continue
		}
		d := further(name, fmt.Sprintf("2-%d", 4700001+len(out)), "hs_createdate", "crm.objects.custom.read",
			standard(plain+"_name", kindName, plain+"_value", kindNumber, plain+"_kind", kindEnum, "hubspot_owner_id", kindNumber))
		d.custom, d.singular = plain, strings.ToUpper(plain)
		out = append(out, d.called(fmt.Sprintf("p%d_%s", o.PortalID, plain)))
	}
	return out
}

// known indexes the stores by every name that an address may have for them. A
// portal's own "contacts" is p_contacts: the plain name is HubSpot's.
func (s *Simulator) known() {
	s.byName = make(map[string]*store, 3*len(s.stores))
	for _, st := range s.stores {
		for _, n := range append([]string{st.sc.name, st.sc.typeID}, st.sc.paths...) {
			s.byName[n] = st
		}
	}
}

func (s *Simulator) object(name string) *store { return s.byName[name] }

// serves says whether a version of the API exists for what is served in one
// dated version only; "" is what is served in all of them.
func (w *switches) serves(version, only string) bool {
	if only == "" || len(version) < 4 {
		return slices.Contains(w.versions, version)
	}
	return version == only && w.dated(version)
}

// dated says whether a dated version exists. The old date does wherever the
// current one does.
func (w *switches) dated(version string) bool {
	return slices.Contains(w.versions, version) || version == "2026-03" && slices.Contains(w.versions, "2026-09")
}

// schemas answers with the definitions of the portal's own objects.
func (c *call) schemas() {
	if scopes := c.sw.scopesMissing["schemas"]; len(scopes) > 0 {
		c.s.count.forbidden.Add(1)
		c.missingScopes(scopes)
		return
	}
	q := c.r.URL.Query()
	b := []byte(`{"results":[`)
	n := 0
	for _, name := range c.s.names {
		st := c.s.stores[name]
		if st.sc.custom == "" || q.Get("archived") == "true" {
			continue
		}
		if n++; n > 1 {
			b = append(b, ',')
		}
		plain := st.sc.custom
		b = fmt.Appendf(b, `{"id":%q,"objectTypeId":%q,"name":%q,"fullyQualifiedName":%q,"labels":{"singular":%q,"plural":%q},"primaryDisplayProperty":%q,`,
			st.sc.typeID[2:], st.sc.typeID, plain, st.sc.paths[0], plain, plain, plain+"_name")
		b = fmt.Appendf(b, `"requiredProperties":[%q],"searchableProperties":[%q],"secondaryDisplayProperties":[],"associations":[],"archived":false,"createdAt":"2025-02-03T04:05:06.007Z","updatedAt":"2025-02-03T04:05:06.007Z","properties":[`,
			plain+"_name", plain+"_name")
		if q.Get("includePropertyDefinitions") != "false" {
			b = c.definitions(b, st, false, "non_sensitive")
		}
		b = append(b, `]}`...)
	}
	c.reply(200, append(b, `]}`...))
}

// Objects returns the names of the built-in objects, in a fixed order.
func Objects() []string {
	all := append(firstObjects(), furtherObjects()...)
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.name
	}
	return names
}
