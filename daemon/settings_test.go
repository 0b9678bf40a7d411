package daemon

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// Each setting of a stream and of a portal shows when it differs, and no secret
// does.
func TestEverySettingIsCompared(t *testing.T) {
	t.Parallel()
	named := []string{"Name", "Label", "Portal", "Object", "Problem", "Named", // what it is, and what follows from others
		"Path", "Streams", "Destinations", "Dashboard"} // where it stands, what the dispatcher compares, and what no daemon reads
	for _, x := range []struct {
		zero   any
		differ func(was, now any) []string
	}{
		{config.DefaultStream(), func(was, now any) []string {
			return differing(settingsOf(was.(config.Stream)), settingsOf(now.(config.Stream)))
		}},
		{config.Notify{}, func(was, now any) []string {
			return configsDiffer(config.Config{Notify: []config.Notify{was.(config.Notify)}}, config.Config{Notify: []config.Notify{now.(config.Notify)}})
		}},
		{config.User{}, func(was, now any) []string {
			return configsDiffer(config.Config{Users: []config.User{was.(config.User)}}, config.Config{Users: []config.User{now.(config.User)}})
		}},
		{config.HTTP{}, func(was, now any) []string {
			return configsDiffer(config.Config{HTTP: was.(config.HTTP)}, config.Config{HTTP: now.(config.HTTP)})
		}},
		{config.Broker{}, func(was, now any) []string {
			return configsDiffer(config.Config{Broker: was.(config.Broker)}, config.Config{Broker: now.(config.Broker)})
		}},
		{config.Worker{}, func(was, now any) []string {
			return configsDiffer(config.Config{Worker: was.(config.Worker)}, config.Config{Worker: now.(config.Worker)})
		}},
		{config.Log{}, func(was, now any) []string {
			return configsDiffer(config.Config{Log: was.(config.Log)}, config.Config{Log: now.(config.Log)})
		}},
		{config.TLS{}, func(was, now any) []string { // of listeners
			a, b := was.(config.TLS), now.(config.TLS)
			other := configsDiffer(config.Config{Broker: config.Broker{TLS: &a}}, config.Config{Broker: config.Broker{TLS: &b}})
			got := configsDiffer(config.Config{HTTP: config.HTTP{TLS: &a}}, config.Config{HTTP: config.HTTP{TLS: &b}})
			if len(other) != len(got) {
				t.Errorf("of the broker %q, of http %q", other, got)
			}
			return got
		}},
		{config.TLS{}, func(was, now any) []string { // of a connection
			a, b := was.(config.TLS), now.(config.TLS)
			return configsDiffer(config.Config{Broker: config.Broker{URL: "x", TLS: &a}}, config.Config{Broker: config.Broker{URL: "x", TLS: &b}})
		}},
		{config.Config{}, func(was, now any) []string { return configsDiffer(was.(config.Config), now.(config.Config)) }},
		{config.Portal{}, func(was, now any) []string {
			return differing(settingsOfPortal(was.(config.Portal)), settingsOfPortal(now.(config.Portal)))
		}},
	} {
		kind := reflect.TypeOf(x.zero)
		for i := range kind.NumField() {
			field := kind.Field(i)
			if slices.Contains(named, field.Name) && !(kind.Name() == "Worker" && field.Name == "Name") {
				continue
			}
			other := reflect.New(kind).Elem()
			other.Set(reflect.ValueOf(x.zero))
			otherwise(t, other.Field(i))
			got := x.differ(x.zero, other.Interface())
			mayShow := field.Type.String() == "string" || field.Type.String() == "[]string" || field.Type.Kind() == reflect.Struct
			if len(got) != 1 && !(field.Name == "Cron" && len(got) == 2) || strings.Contains(strings.Join(got, ""), "canary") && !mayShow {
				t.Errorf("%s.%s: %q", kind.Name(), field.Name, got)
			}
		}
	}
	if got := differing(settingsOf(config.DefaultStream()), settingsOf(config.DefaultStream())); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// configsDiffer is what a plan says of two configurations besides their streams.
func configsDiffer(was, now config.Config) []string {
	out := append(differing(settingsOfProcess(&was), settingsOfProcess(&now)), takenOver(&was, &was, &now)...)
	for _, p := range (&Daemon{running: &was}).portalChanges(&now) {
		out = append(out, p.Portal+": "+p.Change)
	}
	return out
}

// A destination may become one of another type under its name: a plan says so,
// and holds no setting of the one type against another of the other, least of all
// what is secret.
func TestADestinationOfAnotherTypeIsCompared(t *testing.T) {
	t.Parallel()
	secret := config.NewSecret("canary")
	kinds := map[string]config.Destination{
		config.TypePostgres: {URL: secret, Schema: "hubspot"},
		config.TypeFiles: {URL: secret, Files: &config.Files{Format: config.FormatParquet, AccessKey: secret, SecretKey: secret,
			FileSize: config.DefaultFileSize, Keep: config.DefaultKeep}},
		config.TypeIceberg: {URL: secret, Iceberg: &config.Iceberg{Catalog: config.CatalogREST, Credential: secret, Token: secret, AccessKey: secret,
			SecretKey: secret, Properties: map[string]config.Secret{"x": secret}}},
	}
	for from, was := range kinds {
		for to, now := range kinds {
			was.Type, now.Type, was.Name, now.Name = from, to, "lake", "lake"
			said := strings.Join(configsDiffer(config.Config{Destinations: []config.Destination{was}}, config.Config{Destinations: []config.Destination{now}}), "\n")
			if want := "destination lake: type: " + from + " → " + to; (from != to) != strings.Contains(said, want) {
				t.Errorf("from %s to %s: %s", from, to, said)
			}
			if strings.Contains(said, "canary") {
				t.Errorf("from %s to %s it shows a secret: %s", from, to, said)
			}
		}
	}
}

// otherwise gives a field another value.
func otherwise(t *testing.T, f reflect.Value) {
	t.Helper()
	switch v := f.Addr().Interface().(type) {
	case *string:
		*v = "canary"
	case *bool:
		*v = !*v
	case *float64:
		*v += 0.5
	case *time.Duration:
		*v += time.Minute
	case *[]string:
		*v = []string{"canary"}
	case *[]time.Duration:
		*v = []time.Duration{time.Hour}
	case *time.Time:
		*v = time.Date(2024, 1, 31, 0, 0, 0, 0, time.UTC)
	case *config.Secret:
		*v = config.NewSecret("canary")
	case **config.OAuth:
		*v = &config.OAuth{ClientID: "x", ClientSecret: config.NewSecret("canary")}
	case **config.Journal:
		*v = &config.Journal{ClientSecret: config.NewSecret("canary")}
	case **config.Webhook:
		*v = &config.Webhook{ClientSecret: config.NewSecret("canary")}
	case **config.TLS:
		*v = &config.TLS{}
	case *config.Size:
		*v++
	case *int:
		*v++
	case *config.HTTP, *config.Broker, *config.Worker, *config.Log:
		otherwise(t, f.Field(0))
	case *[]config.User, *[]config.Portal, *[]config.Notify:
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
	default:
		t.Fatalf("a kind of setting that is not compared: %s", f.Type())
	}
}
