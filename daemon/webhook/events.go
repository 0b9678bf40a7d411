package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// MaxBody is what a request may have in bytes. HubSpot puts up to a hundred
// events in one, each with the value of one property.
const MaxBody = 4 << 20

// number is an id or a count, which HubSpot writes as a number or, in places, as
// text.
type number string

func (n *number) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		text = ""
	}
	for _, r := range text {
		if r < '0' || r > '9' {
			return fmt.Errorf("%.40q is no number", text)
		}
	}
	*n = number(text)
	return nil
}

// event is one change, as far as it is read.
type event struct {
	PortalID         number   `json:"portalId"`
	SubscriptionType string   `json:"subscriptionType"`
	EventType        string   `json:"eventType"` // what the documentation calls it
	ObjectID         number   `json:"objectId"`
	ObjectTypeID     string   `json:"objectTypeId"`
	PrimaryObjectID  number   `json:"primaryObjectId"`
	MergedObjectIDs  []number `json:"mergedObjectIds"`
	NewObjectID      number   `json:"newObjectId"`
	AssociationType  string   `json:"associationType"`
	FromObjectID     number   `json:"fromObjectId"`
	ToObjectID       number   `json:"toObjectId"`
	FromObjectTypeID string   `json:"fromObjectTypeId"`
	ToObjectTypeID   string   `json:"toObjectTypeId"`
}

// OtherPortalError says that a request has an event of another account.
type OtherPortalError struct{ Got, Want int64 }

func (e *OtherPortalError) Error() string {
	return fmt.Sprintf("an event is of account %d, and the portal is account %d", e.Got, e.Want)
}

// Parse reads the events of a request and returns the records that they name.
// Events of what is no record, such as conversations, name none; those of
// another account than the portal's are an *OtherPortalError.
func Parse(body []byte, account int64) ([]Hint, error) {
	var events []event
	if bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		body = bytes.Join([][]byte{[]byte("["), body, []byte("]")}, nil) // one event, as the page that tries a subscription sends it
	}
	if err := json.Unmarshal(body, &events); err != nil {
		return nil, fmt.Errorf("the body is no list of events: %w", err)
	}
	var out []Hint
	for i, e := range events {
		var portal int64
		if _, err := fmt.Sscan(string(e.PortalID), &portal); err != nil {
			return nil, errOf(i, "it names no portalId")
		}
		if portal != account {
			return nil, &OtherPortalError{portal, account}
		}
		hints, err := e.hints()
		if err != nil {
			return nil, errOf(i, "%w", err)
		}
		out = append(out, hints...)
	}
	return out, nil
}

// hints are the records that an event names.
func (e event) hints() ([]Hint, error) {
	kind := e.SubscriptionType
	if kind == "" {
		kind = e.EventType
	}
	word, what, ok := strings.Cut(kind, ".")
	if !ok {
		return nil, fmt.Errorf("%.60q is no kind of subscription", kind)
	}
	object := typeOf(word)
	if word == "object" {
		object = e.ObjectTypeID
	}
	var out []Hint
	add := func(object string, id number, links bool) {
		if object != "" && id != "" {
			out = append(out, Hint{Object: object, Record: string(id), Associations: links})
		}
	}
	switch what {
	case "associationChange":
		from, to := e.sides(object)
		add(from, e.FromObjectID, true)
		add(to, e.ToObjectID, true)
	case "merge":
		for _, id := range append([]number{e.ObjectID, e.PrimaryObjectID, e.NewObjectID}, e.MergedObjectIDs...) {
			add(object, id, true)
		}
	case "creation", "restore":
		add(object, e.ObjectID, true)
	case "propertyChange", "deletion", "privacyDeletion":
		add(object, e.ObjectID, false)
	}
	return out, nil
}

// sides are the types of the two records of an association: as the event says,
// or as in DEAL_TO_CONTACT.
func (e event) sides(object string) (from, to string) {
	from, to = e.FromObjectTypeID, e.ToObjectTypeID
	if a, b, ok := strings.Cut(strings.ToLower(e.AssociationType), "_to_"); ok {
		if from == "" {
			from = typeOf(a)
		}
		if to == "" {
			to = typeOf(b)
		}
	}
	if from == "" {
		from = object
	}
	return from, to
}
