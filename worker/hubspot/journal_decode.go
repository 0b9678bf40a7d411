package hubspot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// An event of the journal, as HubSpot documents it: type (crmObject, association,
// app_lifecycle_event …), portalId, occurredAt, action, and of a record
// objectTypeId, objectId and propertyChanges, of an association fromObjectId,
// toObjectId and their types. The actions are CREATE, UPDATE, DELETE, MERGE,
// RESTORE, ASSOCIATION_ADDED, ASSOCIATION_REMOVED, SNAPSHOT, APP_INSTALL,
// APP_UNINSTALL, ADDED_TO_LIST, REMOVED_FROM_LIST and GDPR_DELETE.
//
// What the events of merges and privacy deletions say besides is written nowhere;
// they are taken to name records as those of webhooks do. Nothing depends on it:
// an event names records, and whatever names a record too much costs one reading.

// journalMany is how many records of one object an entry names at most: the daemon
// lets no more wait, and what is more is an import, which search reads sooner.
const journalMany = 2000

const (
	// journalNamed is how many records an entry names in all: they travel in one
	// heartbeat. Of an object that is behind them none is read by name.
	journalNamed = 8000
	// journalObjects bounds the objects of which there are too many.
	journalObjects = 500
	// journalEvents bounds the events of a file, ten times what HubSpot puts into
	// one, and journalEventSize what is read of one.
	journalEvents    = 100_000
	journalEventSize = 1 << 20
)

var errManyEvents = fmt.Errorf("it has more than %d events", journalEvents)

// eventList is a list that is not read to its end where it is too long: what is
// small as text is not in memory.
type eventList []json.RawMessage

func (l *eventList) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.New("it is no list")
	}
	for *l = (eventList{}); d.More(); {
		if len(*l) == journalEvents {
			return errManyEvents
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		*l = append(*l, raw)
	}
	return nil
}

// JournalHint is a record that an entry of the journal names.
type JournalHint struct {
	Object       string // HubSpot's number of the type, such as "0-1"
	Record       string
	Associations bool // they have changed, too
}

// journalID is an id, written as a number or as text.
type journalID string

func (n *journalID) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		text = ""
	}
	if len(text) > 20 || strings.Trim(text, "0123456789") != "" {
		return fmt.Errorf("%.40q is no id", text)
	}
	*n = journalID(text)
	return nil
}

type journalEvent struct {
	Action       string    `json:"action"`
	PortalID     journalID `json:"portalId"`
	ObjectTypeID string    `json:"objectTypeId"`
	ObjectID     journalID `json:"objectId"`

	PrimaryObjectID journalID   `json:"primaryObjectId"`
	NewObjectID     journalID   `json:"newObjectId"`
	MergedObjectIDs []journalID `json:"mergedObjectIds"`

	FromObjectTypeID string    `json:"fromObjectTypeId"`
	FromObjectID     journalID `json:"fromObjectId"`
	ToObjectTypeID   string    `json:"toObjectTypeId"`
	ToObjectID       journalID `json:"toObjectId"`
	// As an older description has the other end of an association.
	AssociatedObjectTypeID string    `json:"associatedObjectTypeId"`
	AssociatedObjectID     journalID `json:"associatedObjectId"`
}

// decodeJournal reads a file of the journal. An event that is none is counted and
// left out; a file that is none is an error.
func decodeJournal(file []byte, account int64) (JournalEntry, error) {
	var said struct {
		Events    eventList `json:"journalEvents"`
		Published string    `json:"publishedAt"`
	}
	file = bytes.TrimSpace(bytes.TrimPrefix(file, []byte("\xef\xbb\xbf")))
	var err error
	if bytes.HasPrefix(file, []byte("[")) {
		err = json.Unmarshal(file, &said.Events)
	} else {
		err = json.Unmarshal(file, &said)
	}
	switch {
	case errors.Is(err, errManyEvents):
		return JournalEntry{}, errManyEvents
	case err != nil:
		// The decoder's words may repeat what is in it.
		return JournalEntry{}, errors.New("it is no list of events")
	case said.Events == nil:
		return JournalEntry{}, errors.New("it has no journalEvents")
	}
	entry := JournalEntry{Events: len(said.Events)}
	if at, err := time.Parse(time.RFC3339, said.Published); err == nil {
		entry.Published = at
	}
	own, named := journalID(fmt.Sprint(account)), naming{at: map[JournalHint]int{}, of: map[string]int{}}
	for _, raw := range said.Events {
		var e journalEvent
		switch {
		case len(raw) > journalEventSize || json.Unmarshal(raw, &e) != nil:
			entry.Unread++
		case account != 0 && e.PortalID != "" && e.PortalID != own:
			entry.Others++
		case !e.names(&named):
			entry.Unread++
		}
	}
	if entry.Events > 0 && entry.Unread == entry.Events {
		return JournalEntry{}, fmt.Errorf("none of its %d events is understood", entry.Events)
	}
	entry.Hints, entry.Many = named.hints, named.many
	return entry, nil
}

// naming gathers records, each once.
type naming struct {
	hints []JournalHint
	at    map[JournalHint]int
	of    map[string]int // by object
	many  []string
	named int // with repeats
}

var typePattern = regexp.MustCompile(`^[0-9]{1,9}-[0-9]{1,19}$`)

// add takes a record up, and tells whether it is none at all or one of a type.
func (n *naming) add(object string, id journalID, links bool) bool {
	if id == "" {
		return true
	}
	if !typePattern.MatchString(object) {
		return false
	}
	n.named++
	key := JournalHint{Object: object, Record: string(id)}
	i, known := n.at[key]
	switch {
	case known:
		n.hints[i].Associations = n.hints[i].Associations || links
	case n.of[object] < journalMany && len(n.hints) < journalNamed:
		n.at[key] = len(n.hints)
		n.of[object]++
		n.hints = append(n.hints, JournalHint{object, string(id), links})
	case slices.Contains(n.many, object):
	case len(n.many) == journalObjects:
		return false
	default:
		n.many = append(n.many, object)
	}
	return true
}

// names takes up the records that an event names, and tells whether it is
// understood: it names some, all by types that are some, or has none to name.
// Creation and restore bring associations with them.
func (e journalEvent) names(n *naming) bool {
	links := false
	switch e.Action {
	case "SNAPSHOT", "ADDED_TO_LIST", "REMOVED_FROM_LIST", "APP_INSTALL", "APP_UNINSTALL":
		return true // no record has changed
	case "CREATE", "RESTORE", "MERGE", "ASSOCIATION_ADDED", "ASSOCIATION_REMOVED":
		links = true
	}
	before := n.named
	all := n.add(e.ObjectTypeID, e.ObjectID, links)
	for _, id := range append([]journalID{e.PrimaryObjectID, e.NewObjectID}, e.MergedObjectIDs...) {
		all = n.add(e.ObjectTypeID, id, true) && all
	}
	from := e.FromObjectTypeID
	if from == "" {
		from = e.ObjectTypeID
	}
	all = n.add(from, e.FromObjectID, true) && all
	all = n.add(e.ToObjectTypeID, e.ToObjectID, true) && all
	all = n.add(e.AssociatedObjectTypeID, e.AssociatedObjectID, true) && all
	return all && n.named > before
}
