// Package catalogue is the table of what HubSpot has to offer: a row an
// object. It is only data; what differs in kind is a small strategy elsewhere.
package catalogue

import "time"

// Object is one kind of HubSpot record.
type Object struct {
	Name   string // as the configuration and HubSpot's paths call it
	TypeID string
	// Cursor is the property by which searches find what changed.
	Cursor   string
	Created  string
	Scopes   []string
	Interval time.Duration
	// ListPage, BatchPage and SearchPage are HubSpot's greatest page sizes.
	ListPage, BatchPage, SearchPage int
}

// crm is what all CRM objects share.
func crm(name, typeID, cursor, scope string) Object {
	return Object{Name: name, TypeID: typeID, Cursor: cursor, Created: "createdate", Scopes: []string{scope},
		Interval: 5 * time.Minute, ListPage: 100, BatchPage: 100, SearchPage: 200}
}

// Objects lists the table, in the order in which people think of it.
func Objects() []Object {
	return []Object{
		crm("contacts", "0-1", "lastmodifieddate", "crm.objects.contacts.read"),
		crm("companies", "0-2", "hs_lastmodifieddate", "crm.objects.companies.read"),
		crm("deals", "0-3", "hs_lastmodifieddate", "crm.objects.deals.read"),
		crm("tickets", "0-5", "hs_lastmodifieddate", "tickets"),
	}
}

// Lookup finds an object by its name or type id.
func Lookup(name string) (Object, bool) {
	for _, o := range Objects() {
		if o.Name == name || o.TypeID == name {
			return o, true
		}
	}
	return Object{}, false
}
