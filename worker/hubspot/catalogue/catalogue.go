// Package catalogue says, as data, what hubpipe knows of each object of
// HubSpot: where it is read, which property orders its changes, how its end
// shows. A new stream is a new row here, not new code beside the old.
package catalogue

import (
	"slices"
	"time"
)

// The API versions that hubpipe speaks. DefaultVersion is asked for first;
// FallbackVersion is for portals that answer 404 or 410 to it.
const (
	DefaultVersion  = "2026-09"
	FallbackVersion = "v3"
)

// Limits of one request that hold for every object of the CRM.
const (
	ListLimit   = 100
	BatchLimit  = 100
	SearchLimit = 200
)

// Deletions says how the end of a record shows.
type Deletions int

// The ways. Archived: the record moves into the list that archived=true
// gives, and leaves it for good after 90 days. None: it shows nowhere.
const (
	None Deletions = iota
	Archived
)

// Object is one row: everything that reading a stream depends on.
type Object struct {
	// Name is both the stream's name and the object's in addresses.
	Name string
	// TypeID is HubSpot's number of the object, "0-1" for contacts.
	TypeID string
	// Cursor is the property that says when a record changed. Search filters
	// by it, and it is the version of a record.
	Cursor string
	// Created is the property that says when a record came to be.
	Created string
	// Scopes are what a token needs to read the object.
	Scopes []string
	// Interval is how often a stream is read where nothing else is set.
	Interval time.Duration
	// ListLimit, BatchLimit and SearchLimit bound one request, in records.
	ListLimit, BatchLimit, SearchLimit int
	// Deletions says how a record's end shows.
	Deletions Deletions
	// Version is the API version to use, where the object has another newest
	// general release than DefaultVersion; else empty.
	Version string
}

// Objects returns every row, in the order in which people expect them. The
// slice is the caller's own.
func Objects() []Object {
	return []Object{
		crm("contacts", "0-1", "lastmodifieddate", "crm.objects.contacts.read"),
		crm("companies", "0-2", "hs_lastmodifieddate", "crm.objects.companies.read"),
		crm("deals", "0-3", "hs_lastmodifieddate", "crm.objects.deals.read"),
		crm("tickets", "0-5", "hs_lastmodifieddate", "tickets"),
	}
}

// Lookup returns the row of an object by its name or its type id, and whether
// there is one.
func Lookup(object string) (Object, bool) {
	all := Objects()
	i := slices.IndexFunc(all, func(o Object) bool { return o.Name == object || o.TypeID == object })
	if i < 0 {
		return Object{}, false
	}
	return all[i], true
}

// Path returns the address of the object's records below the host:
// /crm/objects/2026-09/contacts, or /crm/v3/objects/contacts for v3.
func (o Object) Path(version string) string {
	return family("objects", version, o.Name)
}

// PropertiesPath returns the address of the object's property definitions.
func (o Object) PropertiesPath(version string) string {
	return family("properties", version, o.Name)
}

// AccountPath returns the address that says whose portal a token reads.
func AccountPath(version string) string {
	return "/account-info/" + version + "/details"
}

// family builds both forms of an address: versions that are dates stand
// behind the family's name, the older ones before it.
func family(name, version, object string) string {
	if len(version) < 4 {
		return "/crm/" + version + "/" + name + "/" + object
	}
	return "/crm/" + name + "/" + version + "/" + object
}

// crm returns a row with what the objects of the CRM have in common.
func crm(name, typeID, cursor string, scopes ...string) Object {
	return Object{
		Name: name, TypeID: typeID,
		Cursor: cursor, Created: "createdate",
		Scopes:    scopes,
		Interval:  5 * time.Minute,
		ListLimit: ListLimit, BatchLimit: BatchLimit, SearchLimit: SearchLimit,
		Deletions: Archived,
	}
}
