package cli

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker/hubspot/simulator"
)

// A preview has the properties that were asked for and no others, in their order,
// also such as the stream does not copy; one that HubSpot does not have is a
// mistake, with the name that was meant, before anything is printed.
func TestPreviewOfFields(t *testing.T) {
	t.Parallel()
	hub := httptest.NewServer(simulator.New(simulator.Options{Token: tokenOfTests, Sizes: map[string]int{"contacts": 20}}))
	t.Cleanup(hub.Close)
	config := configFile(t, fmt.Sprintf("data_dir = %q\nportal \"main\" {\ntoken = %q\nbase_url = %q\n}\nstream \"contacts\" { exclude = [\"phone\"] }\n", t.TempDir(), tokenOfTests, hub.URL))
	for name, c := range map[string]struct {
		args []string
		code int
		has  []string // of each record, in this order; nil for whatever the stream copies
		head string   // of the table
		says string
	}{
		"all that is copied": {nil, 0, nil, "ID SEQ STATE UPDATED", ""},
		"some":               {[]string{"--fields", "lastname, email,email"}, 0, []string{"lastname", "email"}, "ID SEQ STATE UPDATED lastname email", ""},
		"what is not copied": {[]string{"--fields", "phone"}, 0, []string{"phone"}, "ID SEQ STATE UPDATED phone", ""},
		"a mistake":          {[]string{"--fields", "email,fristname"}, ExitUsage, nil, "", `contacts has no property "fristname" in HubSpot` + "\n  hint: did you mean \"firstname\"?"},
		"nothing like it":    {[]string{"--fields", "colour_of_the_car"}, ExitUsage, nil, "", "hint: `hubpipe preview contacts --limit 1`"},
		"an empty one":       {[]string{"--fields", "email,,phone"}, ExitUsage, nil, "", "one is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := try(t, nil, append([]string{"preview", "contacts", "--config", config}, c.args...)...)
			table := try(t, nil, append([]string{"preview", "contacts", "--config", config, "-o", "table"}, c.args...)...)
			for _, o := range []outcome{got, table} {
				if o.code != c.code || !strings.Contains(o.errors, c.says) || c.code != 0 && o.out != "" {
					t.Fatalf("exit %d\n%s%s", o.code, o.out, o.errors)
				}
			}
			head, _, _ := strings.Cut(table.out, "\n")
			if strings.Join(strings.Fields(head), " ") != c.head {
				t.Errorf("the table begins with %q", head)
			}
			if values := strings.Count(got.out, `"phone":"`); values > 0 != (len(c.has) == 1) {
				t.Errorf("%d records have a telephone number\n%s", values, got.out)
			}
			lines := strings.Split(strings.TrimSpace(got.out), "\n")
			if c.code == 0 && len(lines) != 20 {
				t.Fatalf("%d records\n%s", len(lines), got.out)
			}
			for _, line := range lines {
				var r client.Record
				if c.code != 0 {
					continue
				}
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				names := membersOf(t, r.Properties)
				switch {
				case c.has != nil && strings.Join(names, " ") != strings.Join(c.has, " "):
					t.Errorf("record %s has %v", r.ID, names)
				case c.has == nil && (len(names) < 5 || strings.Contains(string(r.Properties), `"phone":`)):
					t.Errorf("record %s has not what the stream copies: %v", r.ID, names)
				}
			}
		})
	}
}

// membersOf are the names of an object's members, in their order.
func membersOf(t *testing.T, object []byte) (names []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		var value any
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(name))
	}
	return names
}
