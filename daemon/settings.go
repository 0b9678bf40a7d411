package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// setting is a setting as people write it. What is hidden is compared, and
// never shown.
type setting struct {
	name, value string
	hidden      bool
	// rewrites says that what was written before is not to stay as it is.
	rewrites bool
}

// differing says which of the settings that there are now differ, as
// "interval: 5m → 1m". They are held together by their names: a destination of
// another type has others.
func differing(before, now []setting) []string {
	out := []string{}
	for _, s := range now {
		var was setting
		if i := slices.IndexFunc(before, func(b setting) bool { return b.name == s.name }); i >= 0 {
			was = before[i]
		}
		switch {
		case was.value == s.value:
		case s.rewrites:
			out = append(out, fmt.Sprintf("%s: %s → %s (values that are not chosen any more are taken away, and the tables are written again)", s.name, or(was.value), or(s.value)))
		case s.hidden || was.hidden:
			out = append(out, s.name+" is another")
		default:
			out = append(out, fmt.Sprintf("%s: %s → %s", s.name, or(was.value), or(s.value)))
		}
	}
	return out
}

func or(value string) string {
	if value == "" {
		return "none"
	}
	return value
}

// settingsOf are those of a stream.
func settingsOf(s config.Stream) []setting {
	settle := make([]string, len(s.Settle))
	for i, age := range s.Settle {
		settle[i] = config.FormatDuration(age)
	}
	interval, start, lag, versions := "", "", "", ""
	if s.Cron == "" {
		interval = config.FormatDuration(s.Interval)
	}
	if s.MaxLag > 0 {
		lag = config.FormatDuration(s.MaxLag)
	}
	if s.KeepVersions > 0 {
		versions = config.FormatDuration(s.KeepVersions)
	}
	if !s.StartDate.IsZero() {
		start = s.StartDate.UTC().Format(time.RFC3339)
	}
	return []setting{
		{name: "interval", value: interval},
		{name: "cron", value: s.Cron},
		{name: "timezone", value: s.Timezone},
		{name: "autostart", value: strconv.FormatBool(s.Autostart)},
		{name: "properties", value: listed(s.Properties)},
		{name: "exclude", value: listed(s.Exclude)},
		{name: "associations", value: listed(s.Associations)},
		{name: "history", value: listed(s.History)},
		{name: "volatile", value: listed(s.Volatile)},
		{name: "start_date", value: start},
		{name: "tail", value: config.FormatDuration(s.Tail)},
		{name: "settle", value: listed(settle)},
		{name: "archived_interval", value: config.FormatDuration(s.ArchivedInterval)},
		{name: "reconcile_interval", value: config.FormatDuration(s.ReconcileInterval)},
		{name: "max_deletes", value: percent(s.MaxDeletes)},
		{name: "max_lag", value: lag},
		{name: "keep_versions", value: versions},
		{name: "read for", value: listed(s.Parents)},
	}
}

// settingsOfPortal are those of a portal.
func settingsOfPortal(p config.Portal) []setting {
	var oauth, journal, webhook string
	if o := p.OAuth; o != nil {
		oauth = strings.Join([]string{o.ClientID, o.ClientSecret.Reveal(), o.RefreshToken.Reveal()}, "\n")
	}
	if j := p.Journal; j != nil {
		journal = j.ClientID + "\n" + j.ClientSecret.Reveal()
	}
	if w := p.Webhook; w != nil {
		webhook = w.ClientSecret.Reveal()
	}
	return []setting{
		{name: "token", value: p.Token.Reveal(), hidden: true},
		{name: "oauth", value: oauth, hidden: true},
		{name: "journal", value: journal, hidden: true},
		{name: "webhook", value: webhook, hidden: true},
		{name: "base_url", value: p.BaseURL},
		{name: "api_version", value: p.APIVersion},
		{name: "daily_reserve", value: percent(p.DailyReserve)},
		{name: "blocked", value: p.Problem},
	}
}

// settingsOfProcess are those that a process takes over when it starts.
func settingsOfProcess(c *config.Config) []setting {
	return append([]setting{
		{name: "data_dir", value: c.DataDir},
		{name: "http.listen", value: c.HTTP.Listen},
		{name: "http.hosts", value: listed(c.HTTP.Hosts)},
		{name: "http.tls", value: onOff(c.HTTP.TLS)},
		{name: "broker.listen", value: c.Broker.Listen},
		{name: "broker.tls", value: onOff(c.Broker.TLS)},
		{name: "broker.url", value: c.Broker.URL},
		{name: "broker.username", value: c.Broker.Username},
		{name: "broker.password", value: c.Broker.Password.Reveal(), hidden: true},
		{name: "broker.prefix", value: c.Broker.Prefix},
		{name: "broker.changes", value: strconv.FormatBool(c.Broker.Changes)},
		{name: "broker.max_packet", value: c.Broker.MaxPacket.String()},
		{name: "log.format", value: c.Log.Format},
	}, settingsOfTLS("broker", ofConnection(c.Broker))...)
}

// settingsOfTLS are its files, none without TLS.
func settingsOfTLS(block string, c *config.TLS) []setting {
	if c == nil {
		c = &config.TLS{}
	}
	return []setting{
		{name: block + ".tls.certificate", value: c.Certificate},
		{name: block + ".tls.key", value: c.Key},
		{name: block + ".tls.ca", value: c.CA},
	}
}

// settingsOfNotify are those of a place where people are told. The arguments of
// a program may hold a token.
func settingsOfNotify(n config.Notify) []setting {
	return []setting{
		{name: "webhook", value: n.Webhook.Reveal(), hidden: true},
		{name: "format", value: n.Format},
		{name: "exec", value: strings.Join(n.Exec, "\n"), hidden: true},
		{name: "on", value: listed(n.On)},
		{name: "after", value: config.FormatDuration(n.After)},
		{name: "blocked", value: n.Problem},
	}
}

// settingsOfDestination are those of a warehouse.
func settingsOfDestination(d config.Destination) []setting {
	cuts := make([]string, len(d.Truncate))
	for i, t := range d.Truncate {
		cuts[i] = fmt.Sprintf("%s to %d", t.Pattern, t.Length)
	}
	out := []setting{
		{name: "type", value: d.Type},
		{name: "url", value: d.URL.Reveal(), hidden: true},
		{name: "schema", value: d.Schema},
		{name: "streams", value: listed(d.Streams)},
		{name: "deletes", value: d.Deletes},
		{name: "schema_changes", value: d.SchemaChanges},
		{name: "raw", value: strconv.FormatBool(d.Raw)},
		{name: "views", value: strconv.FormatBool(d.Views)},
		{name: "pii", value: d.PII, rewrites: true},
		{name: "exclude", value: listed(d.Exclude), rewrites: true},
		{name: "hash", value: listed(d.Hash), rewrites: true},
		{name: "truncate", value: listed(cuts), rewrites: true},
		{name: "pii_except", value: listed(d.PIIExcept), rewrites: true},
		{name: "versions", value: strconv.FormatBool(d.Versions)},
		{name: "blocked", value: d.Problem},
	}
	if f := d.Files; f != nil {
		out = append(out, []setting{
			{name: "format", value: f.Format},
			{name: "access_key", value: f.AccessKey.Reveal(), hidden: true},
			{name: "secret_key", value: f.SecretKey.Reveal(), hidden: true},
			{name: "flush_interval", value: config.FormatDuration(f.FlushInterval)},
			{name: "compact_interval", value: config.FormatDuration(f.CompactInterval)},
			{name: "file_size", value: f.FileSize.String()},
			{name: "keep", value: config.FormatDuration(f.Keep)},
		}...)
	}
	if x := d.Iceberg; x != nil {
		out = append(out, settingsOfIceberg(x)...)
	}
	return out
}

// settingsOfIceberg are those that such a warehouse has besides.
func settingsOfIceberg(x *config.Iceberg) []setting {
	var more strings.Builder
	for _, name := range slices.Sorted(maps.Keys(x.Properties)) {
		fmt.Fprintf(&more, "%s=%s\x00", name, x.Properties[name].Reveal())
	}
	return []setting{
		{name: "catalog", value: x.Catalog},
		{name: "catalog_name", value: x.CatalogName},
		{name: "warehouse", value: x.Warehouse},
		{name: "namespace", value: x.Namespace},
		{name: "mode", value: x.Mode, rewrites: true},
		{name: "credential", value: x.Credential.Reveal(), hidden: true},
		{name: "token", value: x.Token.Reveal(), hidden: true},
		{name: "access_key", value: x.AccessKey.Reveal(), hidden: true},
		{name: "secret_key", value: x.SecretKey.Reveal(), hidden: true},
		{name: "properties", value: more.String(), hidden: true},
		{name: "flush_interval", value: config.FormatDuration(x.FlushInterval)},
		{name: "compact_interval", value: config.FormatDuration(x.CompactInterval)},
		{name: "file_size", value: x.FileSize.String()},
		{name: "keep", value: config.FormatDuration(x.Keep)},
	}
}

// settingsOfUser are those of a user.
func settingsOfUser(u config.User) []setting {
	return []setting{
		{name: "role", value: u.Role},
		{name: "password_hash", value: u.PasswordHash.Reveal(), hidden: true},
		{name: "certificate", value: u.Certificate},
	}
}

// settingsOfWorker are those of workers.
func settingsOfWorker(w config.Worker) []setting {
	return []setting{
		{name: "worker.concurrency", value: strconv.Itoa(w.Concurrency)},
		{name: "worker.name", value: w.Name},
	}
}

// takenOver says which settings differ that a reload takes over, besides those of
// portals and streams. Files count where a listener began with TLS and keeps it.
func takenOver(started, was, now *config.Config) []string {
	out := blocksDiffer("notify", was.Notify, now.Notify, func(n config.Notify) string { return n.Name }, settingsOfNotify)
	out = append(out, blocksDiffer("destination", was.Destinations, now.Destinations, func(d config.Destination) string { return d.Name }, settingsOfDestination)...)
	if was.Log.Level != now.Log.Level {
		out = append(out, fmt.Sprintf("log.level: %s → %s (by the daemon; a worker takes it over when it is restarted)", was.Log.Level, now.Log.Level))
	}
	out = append(out, blocksDiffer("user", was.Users, now.Users, func(u config.User) string { return u.Name }, settingsOfUser)...)
	for _, s := range differing(settingsOfWorker(was.Worker), settingsOfWorker(now.Worker)) {
		out = append(out, s+" (by `hubpipe up`; another worker takes it over when it is restarted)")
	}
	files := func(block string, began, before, next *config.TLS) {
		if began != nil && next != nil {
			out = append(out, differing(settingsOfTLS(block, cmp.Or(before, began)), settingsOfTLS(block, next))...)
		}
	}
	files("http", started.HTTP.TLS, was.HTTP.TLS, now.HTTP.TLS)
	files("broker", ofListener(started.Broker), ofListener(was.Broker), ofListener(now.Broker))
	return out
}

// blocksDiffer says which named blocks are new, gone or otherwise, as
// "user ann: role: reader → control".
func blocksDiffer[T any](kind string, was, now []T, name func(T) string, settings func(T) []setting) []string {
	out := []string{}
	find := func(in []T, wanted T) int {
		return slices.IndexFunc(in, func(x T) bool { return name(x) == name(wanted) })
	}
	for _, x := range now {
		i := find(was, x)
		if i < 0 {
			out = append(out, fmt.Sprintf("%s %s: %s", kind, name(x), client.ChangeNew))
			continue
		}
		for _, s := range differing(settings(was[i]), settings(x)) {
			out = append(out, fmt.Sprintf("%s %s: %s", kind, name(x), s))
		}
	}
	for _, x := range was {
		if find(now, x) < 0 {
			out = append(out, fmt.Sprintf("%s %s: %s", kind, name(x), client.ChangeRemoved))
		}
	}
	return out
}

func onOff(t *config.TLS) string {
	if t == nil {
		return "off"
	}
	return "on"
}

func listed(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 6, 64) + "%" }
