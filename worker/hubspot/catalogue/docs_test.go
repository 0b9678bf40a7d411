package catalogue

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// updateVariable makes TestStreamsDocument write the document instead.
const updateVariable = "HUBPIPE_UPDATE_DOCS"

// TestStreamsDocument holds docs/STREAMS.md to the table.
func TestStreamsDocument(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "..", "docs", "STREAMS.md")
	want := streamsDocument()
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/STREAMS.md is not what the catalogue says: %s=1 go test ./worker/hubspot/catalogue", updateVariable)
	}
}

func streamsDocument() string {
	var b strings.Builder
	b.WriteString(`# Streams

What can be copied, from the catalogue (worker/hubspot/catalogue); a test holds this page to it. ` + "`object`" + ` of a stream takes a name of the first column, or a type id. Custom objects are named as ` + "`p_name`" + `, by their fully qualified name, or by type id (` + "`2-123`" + `).

Objects of the CRM are followed by their changes. Of all else, what is read *whole* is read from its first row to its last in each run and compared with what is stored; *parent* is the same for each row of something else; *windowed* is asked for by spans of time; a *log* is read from its newest row back to what is known.

Each is read in the newest version of HubSpot's API that serves it: ` + "`2026-09`" + `, else the newest that does (` + "`2026-03`" + ` for projects and the account's users, roles and teams, v3 for forms, v4 for workflows, v1 for email events and form submissions). Where an account answers that it has no such address, an older one is asked for, once, and the log says so. ` + "`portal { api_version }`" + ` pins a portal to ` + "`2026-09`" + `, ` + "`2026-03`" + ` or ` + "`v3`" + `: what has an address in that version is asked there alone, and blocked with the reason where the account lacks it; what has none is read as above. Whose account it is, and OAuth's tokens, come from wherever they are served.

| object | type | read | what orders its changes | how its end shows | every | scopes |
|---|---|---|---|---|---|---|
`)
	var later []string
	for _, o := range All() {
		if !o.Ready {
			later = append(later, o.Name)
			continue
		}
		end := "it is missing"
		switch {
		case o.Deletions == Archived:
			end = "the list of archived records"
		case o.Endpoint.End == EndField:
			end = "its " + o.Endpoint.EndField
		case o.Endpoint.End == EndNever, o.Endpoint.Partial:
			end = "it does not end"
		}
		read := o.Strategy.String()
		switch o.Endpoint.Parent.Kind {
		case ParentStream:
			read += ": " + o.Endpoint.Parent.Stream
		case ParentObjectTypes:
			read += ": the portal's objects"
		case ParentPairs:
			read += ": pairs of its objects"
		case ParentPairRecords:
			read += ": records of the pairs that the stream names"
		case ParentEventObjects:
			read += ": of contacts, companies, deals, tickets and the custom objects that are copied"
		case ParentNone:
		}
		scopes := strings.Join(o.Scopes, ", ")
		if len(o.Instead) > 0 {
			scopes += " (or " + strings.Join(o.Instead, ", ") + ")"
		}
		if o.OnRequest {
			scopes += " (allows writing: read where a stream names it, never by itself)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", o.Name, dash(o.TypeID), read, dash(o.Cursor+o.Endpoint.Time), end, every(o.Interval), dash(scopes))
	}
	b.WriteString(`
## Associations

A stream of the CRM keeps with its records what they are associated with (` + "`associations = [\"companies\"]`" + `). A stream of its own has a row for each association instead, of the pairs that it names:

` + "```hcl" + `
stream "links" {
  object       = "associations"
  associations = ["deals/contacts", "contacts/companies", "p_cars/contacts"]
}
` + "```" + `

A pair is read from its first object to its second; the same pair the other way round is a pair of its own. A row's id is the pair and both ids (` + "`deals/contacts/101/2002`" + `); its properties are fromObjectType, fromObjectId, toObjectType, toObjectId, and associationTypes: all types of the association, with category, typeId and label. HubSpot tells no time at which an association was made, so every run lists the ids of the first object (the token needs the scopes of both) and asks for the associations of all of them, 1,000 at a time: once a day where no interval is set, and at once by ` + "`hubpipe sync links`" + `. What is not there any more is purged, within max_deletes. A pair that HubSpot refuses is named in the stream's status and keeps its rows; so do the rows of a pair that is taken out of the configuration.

## Events

They are asked for contacts, companies, deals, tickets and each custom object that the portal's streams copy: one request for each of them every time. HubSpot's API names no others, and leaves out the events of marketing emails, which are email_events. One whose events HubSpot refuses is named in the stream's status, and all of its events are read when it hands them out.

## Sensitive properties

` + "`properties = [\"*\"]`" + ` is all properties that are not archived, the sensitive and the highly sensitive ones among them where the token has their scopes (` + "`crm.objects.contacts.sensitive.read.v2`" + ` and the like); ` + "`exclude`" + ` leaves them out. One that becomes sensitive, and whose scope the token lacks, keeps its last values.

## Privacy deletions

A contact that was deleted for privacy in HubSpot ends as purged: see [SECURITY.md](SECURITY.md#people-who-have-themselves-erased).

## Deal splits

` + "`stream \"deal_splits\" {}`" + ` asks for the splits of all deals, 100 at a time. HubSpot has no scope for reading them alone: crm.dealsplits.read_write allows writing, too. hubpipe never writes; give the token the scope only if that is all right. A row is a split, with the deal's id as dealId.
`)
	if len(later) > 0 {
		b.WriteString("\nKnown to the catalogue, and not read yet: " + strings.Join(later, ", ") + ".\n")
	}
	return b.String()
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func every(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
