// Package catalogue says, as data, what hubpipe knows of each kind of data in
// HubSpot: where it is read, what orders its changes, how its end shows. A new
// stream is a new row here, not new code beside the old.
package catalogue

import (
	"slices"
	"strings"
	"time"
)

// The API versions that hubpipe speaks. DefaultVersion is asked for first;
// FallbackVersion is for portals that answer 404 or 410 to it.
const (
	DefaultVersion  = "2026-09"
	FallbackVersion = "v3"
)

// Versions are those that a portal may be pinned to. What else stands in
// addresses (v1, v4) is the one version of some endpoints, and no choice.
func Versions() []string { return []string{DefaultVersion, "2026-03", FallbackVersion} }

// Limits of one request that hold for every object of the CRM.
const (
	ListLimit   = 100
	BatchLimit  = 100
	SearchLimit = 200
	// HistoryLimit is the limit of list and batch read where the history of
	// properties is asked for.
	HistoryLimit = 50
	// HasAtOnce is of how many properties one search asks which records have them:
	// each is an alternative of up to five filters, and HubSpot takes 18.
	HasAtOnce = 3
	// AddressLimit is how many bytes an address may surely have.
	AddressLimit = 7500
	// AssociationsLimit is how many ids one request for associations may name.
	AssociationsLimit = 1000
)

// Deletions says how the end of a record shows.
type Deletions int

// The ways. Archived: the record moves into the list that archived=true
// gives, and leaves it for good after 90 days. None: it shows nowhere, so that
// only a whole read tells.
const (
	None Deletions = iota
	Archived
)

// Strategy says by which contract a stream is read.
type Strategy int

// The strategies.
const (
	// StrategyObjects is the contract that all objects of the CRM share: list,
	// search, batch read, archived records.
	StrategyObjects Strategy = iota
	// StrategyWhole is a small set that every run reads from its first row to
	// its last and compares by key. What is not in it any more has gone.
	StrategyWhole
	// StrategyWindowed is asked for by windows of time.
	StrategyWindowed
	// StrategyLog is read from its newest row back to what is known.
	StrategyLog
	// StrategyPerParent is a whole read for each row of something else.
	StrategyPerParent
)

// String returns the strategy's name in one word.
func (s Strategy) String() string {
	return [...]string{"objects", "whole", "windowed", "log", "parent"}[s]
}

// Object is one row: everything that reading a stream depends on.
type Object struct {
	// Name is what a configuration calls it, and unique. A custom object has
	// the name that it was looked up by.
	Name string
	// PathName is what addresses call it; empty where Endpoint has them.
	PathName string
	// TypeID is HubSpot's number of the object, "0-1" for contacts. It is
	// empty for what is no object of the CRM, and where it is not known.
	TypeID string
	// Custom says that the portal has defined the object.
	Custom bool
	// Strategy says how it is read.
	Strategy Strategy
	// Ready says that hubpipe can read it. A row that is not ready is data for
	// a reader that is still to come, and a configuration that names it is refused.
	Ready bool
	// OnRequest says that it is never read unless it is named: its scope allows
	// more than reading.
	OnRequest bool
	// Cursor is the property that says when a record changed. Search filters
	// by it, and it is the version of a record. Objects of the CRM alone.
	Cursor string
	// Created is the property that says when a record came to be. Objects of
	// the CRM alone.
	Created string
	// Scopes are what a token needs, all of them.
	Scopes []string
	// Instead are scopes of which any one does as well.
	Instead []string
	// Interval is how often a stream is read where nothing else is set.
	Interval time.Duration
	// ListLimit, BatchLimit and SearchLimit bound one request, in records.
	// Objects of the CRM alone; others have theirs in Endpoint.
	ListLimit, BatchLimit, SearchLimit int
	// Deletions says how a record's end shows.
	Deletions Deletions
	// Version is the API version to use, where the object has another newest
	// general release than DefaultVersion; else empty. A portal that is pinned to
	// DefaultVersion reads the object in this one, too.
	Version string
	// Endpoint says where and how the rows are read; zero for StrategyObjects.
	Endpoint Endpoint
}

// Objects returns the rows that share the contract of the CRM, in the order in
// which people expect them. The slice is the caller's own.
func Objects() []Object { return crmRows() }

// All returns every row: the objects of the CRM, then all else. The slice is
// the caller's own.
func All() []Object { return append(crmRows(), otherRows()...) }

// Names returns the names that a configuration may use: those of the rows that
// are Ready. Custom objects are not among them; Lookup knows their form.
func Names() []string {
	var names []string
	for _, o := range All() {
		if o.Ready {
			names = append(names, o.Name)
		}
	}
	return names
}

// Lookup returns the row of an object by its name, by its name in addresses or
// by its type id, and whether there is one. Where two rows could be meant the
// name decides: "subscriptions" is the object of the CRM. What has the form of
// a custom object's name is one: see Custom.
func Lookup(object string) (Object, bool) {
	all := All()
	for _, is := range []func(Object) bool{
		func(o Object) bool { return o.Name == object },
		func(o Object) bool { return o.PathName != "" && o.PathName == object },
		func(o Object) bool { return o.TypeID != "" && o.TypeID == object },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i], true
		}
	}
	return Custom(object)
}

// Custom returns the row of an object that the portal has defined, by its type
// id ("2-123"), by "p_" and its name, or by its fully qualified name
// ("p4711_cars"), and whether the name has one of these forms. Whether there
// is such an object only the portal can say.
func Custom(object string) (Object, bool) {
	if !customName(object) {
		return Object{}, false
	}
	o := crm(object, "", "hs_createdate", "crm.objects.custom.read", "crm.schemas.custom.read")
	o.Custom = true
	if strings.HasPrefix(object, "2-") {
		o.TypeID = object
	}
	return o, true
}

// customName says whether a name is one that custom objects have in addresses:
// the type id, p_ and the name, or the fully qualified name, which has the
// portal's id between. A plain name is none of these: it could be a misspelt
// built-in one, and a portal may call its own object "contacts".
func customName(s string) bool {
	const digits = "0123456789"
	if n, ok := strings.CutPrefix(s, "2-"); ok {
		return n != "" && len(n) < 20 && n[0] != '0' && strings.Trim(n, digits) == ""
	}
	rest, ok := strings.CutPrefix(s, "p")
	if name, named := strings.CutPrefix(strings.TrimLeft(rest, digits), "_"); ok && named {
		return name != "" && len(name) <= 100 && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
	}
	return false
}

// Path returns the address of the object's records below the host:
// /crm/objects/2026-09/contacts, or /crm/v3/objects/contacts for v3.
func (o Object) Path(version string) string {
	return family("objects", version, o.PathName)
}

// PropertiesPath returns the address of the object's property definitions.
func (o Object) PropertiesPath(version string) string {
	return family("properties", version, o.PathName)
}

// AssociationsPath returns the address that answers which records of another
// object belong to some of this one. Where dated versions are not served it is
// v4 that knows associations.
func (o Object) AssociationsPath(version string, to Object) string {
	if undated(version) {
		version = "v4"
	}
	return family("associations", version, o.PathName+"/"+to.PathName) + "/batch/read"
}

// AccountPath returns the address that says whose portal a token reads.
func AccountPath(version string) string {
	return "/account-info/" + version + "/details"
}

// DailyUsagePath returns the address that says what of the daily limit is used.
func DailyUsagePath(version string) string {
	return "/account-info/" + version + "/api-usage/daily/private-apps"
}

// TokenPath returns the address that gives OAuth tokens.
func TokenPath(version string) string {
	if undated(version) {
		version = "v1"
	}
	return "/oauth/" + version + "/token"
}

// undated says whether a version is one of the old kind: v1 to v4.
func undated(version string) bool { return len(version) < 4 }

// family builds both forms of an address: versions that are dates stand
// behind the family's name, the older ones before it.
func family(name, version, object string) string {
	if undated(version) {
		return "/crm/" + version + "/" + name + "/" + object
	}
	return "/crm/" + name + "/" + version + "/" + object
}
