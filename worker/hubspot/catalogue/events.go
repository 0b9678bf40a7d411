package catalogue

// EventObjects are the objects that HubSpot tells events of in every account.
// Custom objects may have events, too.
func EventObjects() []string { return []string{"contacts", "companies", "deals", "tickets"} }

// EventType is how a request for events calls an object: the ones of every account
// by their singular, a custom one as its address does.
func EventType(object string) string {
	switch object {
	case "contacts":
		return "contact"
	case "companies":
		return "company"
	case "deals":
		return "deal"
	case "tickets":
		return "ticket"
	}
	if o, ok := Lookup(object); ok && o.PathName != "" {
		return o.PathName
	}
	return object
}
