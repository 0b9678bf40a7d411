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
	named := []string{"Name", "Label", "Portal", "Object", "Problem", "Named"} // what it is, and what follows from others
	for _, x := range []struct {
		zero   any
		differ func(was, now any) []string
	}{
		{config.DefaultStream(), func(was, now any) []string {
			return differing(settingsOf(was.(config.Stream)), settingsOf(now.(config.Stream)))
		}},
		{config.Portal{}, func(was, now any) []string {
			return differing(settingsOfPortal(was.(config.Portal)), settingsOfPortal(now.(config.Portal)))
		}},
	} {
		kind := reflect.TypeOf(x.zero)
		for i := range kind.NumField() {
			field := kind.Field(i)
			if slices.Contains(named, field.Name) {
				continue
			}
			other := reflect.New(kind).Elem()
			other.Set(reflect.ValueOf(x.zero))
			otherwise(t, other.Field(i))
			got := x.differ(x.zero, other.Interface())
			if len(got) != 1 && !(field.Name == "Cron" && len(got) == 2) || strings.Contains(strings.Join(got, ""), "canary") && field.Type.String() != "string" && field.Type.String() != "[]string" {
				t.Errorf("%s.%s: %q", kind.Name(), field.Name, got)
			}
		}
	}
	if got := differing(settingsOf(config.DefaultStream()), settingsOf(config.DefaultStream())); len(got) != 0 {
		t.Errorf("%q", got)
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
	default:
		t.Fatalf("a kind of setting that is not compared: %s", f.Type())
	}
}
