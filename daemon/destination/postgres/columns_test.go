package postgres_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hubpipe/hubpipe/daemon/destination"
	"github.com/hubpipe/hubpipe/daemon/destination/postgres"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/internal/e2e/pgserver"
)

const canary = "Canary@Example.com"

// birds are records with the canary in every place that a value can be in.
func (r *rig) birds() {
	r.t.Helper()
	r.Streams = []destination.Stream{{Name: "contacts", Object: "contacts", History: true, Associations: true, Versions: time.Hour}, {Name: "owners", Object: "owners", Versions: time.Hour},
		{Name: "subscription_statuses", Object: "subscription_statuses"}}
	r.Src.Define("contacts", []stream.Property{{Name: "email", Type: "string", Label: "E-mail"}, {Name: "phone", Type: "number"}, {Name: "secret", Type: "string", Sensitive: true},
		{Name: "zip", Type: "string"}, {Name: "photo", Type: "enumeration", FieldType: "checkbox", Options: []stream.Option{{Value: canary, Label: canary}}}, {Name: "score", Type: "number"}})
	var list []*stream.Record
	for i := range 3 {
		// phone does not parse as a number; hidden is none of the definitions.
		rec := record(fmt.Sprint(i), `{"email":"  `+canary+` ","phone":"`+canary+`","secret":"`+canary+`","zip":"12`+canary+`","photo":"`+canary+`;x","score":"7","hidden":"`+canary+`"}`)
		rec.History = []byte(`{"email":[{"value":"` + canary + `","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI","sourceId":"` + canary + `"}],
			"score":[{"value":"7","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI","sourceId":"` + canary + `"}]}`)
		rec.Associations = []byte(`{"companies":[{"id":"7","types":[{"category":"HUBSPOT_DEFINED","typeId":1,"label":null}]}]}`)
		list = append(list, rec)
	}
	r.KeepFor()
	r.Put("contacts", list...)
	r.Put("contacts", list...) // versions of them are kept
	r.Put("owners", record("9", `{"id":"9","email":"`+canary+`","userId":5,"lastName":{"was":["`+canary+`"]}}`), ended("8", stream.Archived, `{"email":"`+canary+`"}`))
	r.Put("subscription_statuses", record(canary+"/5", `{"subscriberIdString":"`+canary+`","status":"SUBSCRIBED"}`))
}

// again begins anew with another choice.
func (r *rig) again(c destination.Choice) {
	r.t.Helper()
	if r.M != nil {
		r.Stop()
	}
	r.Choice = c
	r.Start()
	r.settled()
}

// seen counts the canary in a dump of all that the schema has.
func (r *rig) seen() int {
	return strings.Count(strings.ToLower(r.pg.Dump(r.o.Schema)), strings.ToLower(canary))
}

func (r *rig) hashed(v string) string {
	r.t.Helper()
	salt, err := r.Src.Salt()
	if err != nil {
		r.t.Fatal(err)
	}
	h := hmac.New(sha256.New, salt)
	h.Write([]byte(v))
	return hex.EncodeToString(h.Sum(nil))
}

// What is not chosen stands nowhere in the database, whether it was there before
// or not, whatever the policy for HubSpot's own changes says.
func TestCanary(t *testing.T) {
	t.Parallel()
	pg := pgserver.Start(t)
	for _, policy := range []string{postgres.Apply, postgres.Block, postgres.Ignore} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, pg, postgres.Options{Schema: "canary_" + policy, SchemaChanges: policy, Raw: true})
			r.birds()
			if policy == postgres.Block {
				// It would wait for the property that is in no definition.
				r.Src.DefineMore("contacts", stream.Property{Name: "hidden", Type: "string", Sensitive: true})
			}
			rows := policy == postgres.Apply
			if !rows { // what has no definitions is not let in by the other policies
				r.Streams = r.Streams[:1]
			}
			r.again(destination.Choice{})
			if n := r.seen(); n < 25 {
				t.Fatalf("the canary was handed over in %d places only: the test sees nothing", n)
			}
			cut := []destination.Truncation{{Pattern: "contacts.zip", Length: 2}}
			r.again(destination.Choice{Personal: destination.Hash, Truncate: cut, Exclude: []string{"secret"}, Hash: []string{"*.photo"}})
			if n := r.seen(); n > 0 {
				t.Errorf("the canary is in %d places of the dump", n)
			}
			h := r.hashed(strings.ToLower(canary))
			r.is("3|"+h+"|12|7", "SELECT count(*), min(email), min(zip), min(score) FROM contacts")
			r.is("3|"+h+"|text", "SELECT count(*), min(phone), min(pg_typeof(phone)::text) FROM contacts")
			r.is("3|"+h, `SELECT count(*), min(h."value") FROM contacts__history h WHERE property = 'email'`)
			r.is("email|hash\nphone|hash\nphoto|hash\nsecret|exclude\nzip|truncate 2",
				"SELECT property, regexp_replace(handling, ' [0-9a-f]{8}$', '') FROM hubpipe_properties WHERE stream = 'contacts' AND handling IS NOT NULL AND property <> 'hidden' ORDER BY 1")
			r.is("E-mail (hashed)", "SELECT col_description('contacts'::regclass, (SELECT attnum FROM pg_attribute WHERE attrelid = 'contacts'::regclass AND attname = 'email'))")
			if rows {
				r.rowsToo(h)
			}
			r.is("live|3", "SELECT min(_hubpipe_state), count(*) FROM contacts")

			r.again(destination.Choice{Personal: destination.Exclude, Keep: []string{"contacts.zip"}, Truncate: cut})
			if n := r.seen(); n > 0 {
				t.Errorf("the canary is in %d places of the dump when it is excluded", n)
			}
			if strings.Contains(r.pg.Dump(r.o.Schema), h) {
				t.Error("its hash has stayed")
			}
			r.is("0", "SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'contacts' AND column_name IN ('email', 'phone', 'secret')", r.o.Schema)

			r.again(destination.Choice{})
			r.is("3|  "+canary+" |0", "SELECT count(*), min(email), count(phone) FROM contacts")
			r.is("0|8", "SELECT count(*) FILTER (WHERE handling IS NOT NULL), count(*) + 1 FROM hubpipe_properties WHERE stream = 'contacts'")
			if rows {
				r.is("1|"+canary+"/5", "SELECT count(*), min(id) FROM subscription_statuses")
			}
		})
	}
}

// rowsToo looks at rows that are no objects of the CRM; h is the canary's hash.
func (r *rig) rowsToo(h string) {
	r.t.Helper()
	r.is("3", "SELECT count(*) FROM contacts c JOIN owners o ON o.email = c.email WHERE o.id = '9'")
	r.is("1|64|"+h, `SELECT count(*), min(length(id)), min("subscriberIdString") FROM subscription_statuses`)
	// What a resync ends is looked for by the hashed id.
	if err := r.M.Resync("warehouse", ""); err != nil {
		r.t.Fatal(err)
	}
	r.settled()
	r.is("live", "SELECT _hubpipe_state FROM subscription_statuses")
}

// A person's view does not keep what is to go.
func TestCanaryInView(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{Raw: true})
	r.birds()
	r.again(destination.Choice{})
	r.sql("CREATE VIEW mine AS SELECT id, email, phone, _hubpipe_properties AS p FROM contacts")
	r.again(destination.Choice{Personal: destination.Exclude, Exclude: []string{"zip", "photo"}})
	if n := r.seen(); n > 0 {
		t.Errorf("the canary is in %d places of the dump", n)
	}
	r.is("3|0", "SELECT count(*), count(email) FROM mine")
}

// Nor does a column whose type a person has changed.
func TestCanaryInColumnOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{Raw: true, SchemaChanges: postgres.Block})
	r.Define("contacts", "email string", "nick string", "plain string")
	r.Put("contacts", record("1", `{"email":"`+canary+`","nick":"`+canary+`","plain":"x"}`))
	r.again(destination.Choice{})
	r.Stop()
	r.sql("ALTER TABLE contacts ALTER COLUMN email TYPE varchar(100), ALTER COLUMN nick TYPE varchar(100)")
	// It waits for a person, so that no rereading writes over it.
	r.Define("contacts", "email string", "nick string", "plain string", "is_new string")
	r.Choice = destination.Choice{Hash: []string{"email"}, Truncate: []destination.Truncation{{Pattern: "nick", Length: 3}}}
	r.Start()
	r.Until(func(s destination.Status) bool { return s.State == destination.Blocked })
	if n := r.seen(); n > 0 {
		t.Errorf("the canary is in %d places of the dump", n)
	}
	r.is("character varying|x", "SELECT pg_typeof(email), plain FROM contacts")
}

// Nor the history of a property that never had a column.
func TestCanaryInHistoryAlone(t *testing.T) {
	t.Parallel()
	for _, c := range []destination.Choice{{Exclude: []string{"old_*"}}, {Hash: []string{"contacts.old_*"}}} {
		r := newRig(t, pgserver.Start(t), postgres.Options{})
		r.Streams[0].History = true
		r.Define("contacts", "plain string")
		rec := record("1", `{"plain":"x"}`)
		rec.History = []byte(`{"old_mail":[{"value":"` + canary + `","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI"}],
			"plain":[{"value":"x","timestamp":"2026-01-02T00:00:00Z","sourceType":"CRM_UI"}]}`)
		r.Put("contacts", rec)
		r.again(destination.Choice{})
		r.is("old_mail|"+canary+"\nplain|x", "SELECT property, value FROM contacts__history ORDER BY 1")
		r.Stop()
		r.sql("ALTER TABLE hubpipe_streams DROP COLUMN choice") // as a version before has left it
		r.again(c)
		if n := r.seen(); n > 0 {
			t.Errorf("%+v: the canary is in %d places of the dump", c, n)
		}
		r.is("x", "SELECT value FROM contacts__history WHERE property = 'plain'")
		r.Stop()
	}
}

// A table that waits for a person does not keep it meanwhile.
func TestCanaryWhileBlocked(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{Raw: true, SchemaChanges: postgres.Block})
	r.birds()
	r.Streams = r.Streams[:1]
	r.Src.DefineMore("contacts", stream.Property{Name: "hidden", Type: "string", Sensitive: true})
	r.again(destination.Choice{})
	r.Stop()
	r.Src.DefineMore("contacts", stream.Property{Name: "is_new", Type: "string"})
	r.Choice = destination.Choice{Personal: destination.Hash, Exclude: []string{"zip", "photo"}}
	r.Start()
	r.Until(func(s destination.Status) bool { return s.State == destination.Blocked })
	if n := r.seen(); n > 0 {
		t.Errorf("the canary is in %d places of the dump", n)
	}
}

// A property that HubSpot begins to call sensitive, or hides, is taken away when
// its definition is read.
func TestBecomesSensitive(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "nick string", "other string")
	r.Put("contacts", record("1", `{"nick":"`+canary+`","other":"x"}`))
	r.again(destination.Choice{Personal: destination.Exclude})
	r.is(canary+"|x", "SELECT nick, other FROM contacts")
	r.Src.Define("contacts", []stream.Property{{Name: "nick", Type: "string", Sensitive: true}, {Name: "other", Type: "string"}})
	r.Until(func(destination.Status) bool {
		return r.sql("SELECT count(*) FROM hubpipe_properties WHERE property = 'nick' AND handling = 'exclude'") == "1"
	})
	r.settled()
	if n := r.seen(); n > 0 {
		t.Errorf("the canary is in %d places of the dump", n)
	}
	r.is("x", "SELECT other FROM contacts")
	r.Define("contacts", "nick string")
	r.Put("contacts", record("2", `{"nick":"y","other":"`+canary+`"}`))
	r.settled()
	r.is("1|"+canary+"\n2|y", "SELECT id, nick FROM contacts ORDER BY id")
	r.is("0", "SELECT count(*) FROM information_schema.columns WHERE table_schema = '%s' AND table_name = 'contacts' AND column_name = 'other'", r.o.Schema)
}

// A check of a destination that is paused changes nothing.
func TestColumnsOfPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.Define("contacts", "email string", "nick string")
	r.Put("contacts", record("1", `{"email":"`+canary+`","nick":"x"}`))
	r.again(destination.Choice{})
	if err := r.M.Pause("warehouse"); err != nil {
		t.Fatal(err)
	}
	note := func() string {
		t.Helper()
		const all = `SELECT s.position, s.last_commit_at, s.reread_reason, (SELECT string_agg(table_name || '.' || column_name, ' ' ORDER BY table_name, ordinal_position)
			FROM information_schema.columns WHERE table_schema = current_schema), (SELECT string_agg(p::text, ' ' ORDER BY property) FROM hubpipe_properties p), c.* FROM hubpipe_streams s, contacts c`
		before := r.sql(all)
		list, err := r.M.Check(t.Context(), "warehouse")
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if diff := cmp.Diff(before, r.sql(all)); diff != "" {
			t.Errorf("the check has changed (-before +after):\n%s", diff)
		}
		return list[0].Note
	}
	if n := note(); n != "" {
		t.Errorf("of tables that fit it says %q", n)
	}
	r.Define("contacts", "email string", "nick string", "new string")
	if n := note(); !strings.Contains(n, "changed first") {
		t.Errorf("of a table that lacks a column it says %q", n)
	}
	r.Define("contacts", "email string", "nick string")
	r.Stop()
	r.Choice = destination.Choice{Exclude: []string{"email"}}
	r.Start()
	if n := note(); !strings.Contains(n, "changed first") {
		t.Errorf("of a column that is to go it says %q", n)
	}
	if err := r.M.Resume("warehouse"); err != nil {
		t.Fatal(err)
	}
	r.settled()
	if n := r.seen(); n > 0 {
		t.Errorf("the canary is in %d places of the dump", n)
	}
}

// What is said of the tables is what they are.
func TestDescribed(t *testing.T) {
	t.Parallel()
	r := newRig(t, pgserver.Start(t), postgres.Options{})
	r.birds()
	long := strings.Repeat("long_", 20)
	r.Src.DefineMore("contacts", stream.Property{Name: long, Type: "datetime"}, stream.Property{Name: "ctid", Type: "date"},
		stream.Property{Name: "id", Type: "bool"}, stream.Property{Name: "hidden", Type: "string"})
	r.Put("owners", record("7", `{"id":"7","at":"2026-01-02T03:04:05Z","n":1,"yes":true,"mixed":1,"empty":"","none":null}`), record("6", `{"mixed":"x"}`))
	r.again(destination.Choice{Personal: destination.Hash, Exclude: []string{"photo"}})
	where, list, err := r.M.Tables(t.Context(), "warehouse")
	if err != nil || where.Schema != r.o.Schema || where.Database == "" || len(list) != 3 {
		t.Fatalf("%+v %+v %v", where, list, err)
	}
	types := map[string]string{destination.TypeText: "text", destination.TypeNumber: "numeric", destination.TypeInteger: "bigint", destination.TypeBoolean: "boolean",
		destination.TypeDate: "date", destination.TypeTimestamp: "timestamp with time zone", destination.TypeTexts: "ARRAY", destination.TypeJSON: "jsonb"}
	for _, d := range list {
		want := map[string]string{}
		for line := range strings.Lines(r.sql("SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = '%s' AND table_name = '%s'", r.o.Schema, d.Table)) {
			name, kind, _ := strings.Cut(strings.TrimSpace(line), "|")
			want[name] = kind
		}
		got := map[string]string{}
		for _, c := range d.Columns {
			got[c.Name] = types[c.Type]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-in the database +said):\n%s", d.Stream, diff)
		}
	}
	r.is("3", "SELECT count(*) FROM information_schema.tables WHERE table_schema = '%s' AND table_name IN ('%s', '%s', '%s')", r.o.Schema, list[0].Associations, list[0].History, list[0].Versions)
}
