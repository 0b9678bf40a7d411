package config

import (
	"slices"
	"strings"
)

// blockSchema is what a block may hold. Labels is how many names follow its
// type.
type blockSchema struct {
	labels     int
	attributes []string
	blocks     []string
	// once says that there is at most one of its kind.
	once bool
	// fragment says that it may stand in conf.d too.
	fragment bool
	// open says that any attribute may stand in it: its user knows them.
	open bool
	// secrets says that any text in it may hold a secret.
	secrets bool
}

// sharedStreamSettings are the settings that a stream and defaults share.
func sharedStreamSettings() []string {
	return []string{"portal", "portals", "interval", "cron", "timezone", "autostart", "properties", "exclude",
		"associations", "history", "volatile", "start_date", "tail", "settle", "archived_interval",
		"reconcile_interval", "max_deletes", "max_lag", "keep_versions"}
}

// schema is every block and setting that there is, by the path of the block;
// "" is the file itself.
func schema() map[string]blockSchema {
	return map[string]blockSchema{
		"": {attributes: []string{"data_dir"},
			blocks: []string{"http", "broker", "worker", "log", "defaults", "user", "portal", "stream", "destination", "notify", "tui"}},
		"http":     {attributes: []string{"listen", "hosts"}, blocks: []string{"tls"}, once: true},
		"http.tls": {attributes: []string{"certificate", "key", "ca"}, once: true},
		"broker": {attributes: []string{"listen", "url", "username", "password", "prefix", "changes", "max_packet"},
			blocks: []string{"tls"}, once: true},
		"broker.tls": {attributes: []string{"certificate", "key", "ca"}, once: true},
		"user":       {labels: 1, attributes: []string{"role", "password_hash", "certificate"}, fragment: true},
		"worker":     {attributes: []string{"concurrency", "name"}, once: true},
		"log":        {attributes: []string{"level", "format"}, once: true},
		"defaults":   {attributes: sharedStreamSettings(), once: true},
		"portal": {labels: 1, attributes: []string{"token", "base_url", "api_version", "daily_reserve"},
			blocks: []string{"oauth", "journal", "webhook"}, fragment: true},
		"portal.oauth":   {attributes: []string{"client_id", "client_secret", "refresh_token"}, once: true},
		"portal.journal": {attributes: []string{"client_id", "client_secret"}, once: true},
		"portal.webhook": {attributes: []string{"client_secret"}, once: true},
		"stream":         {labels: 1, attributes: append([]string{"object"}, sharedStreamSettings()...), fragment: true},
		"notify":         {labels: 1, attributes: []string{"webhook", "format", "exec", "on", "after"}, fragment: true},
		"destination": {labels: 2, attributes: []string{"url", "schema", "streams", "deletes", "schema_changes", "raw", "views", "versions", "format", "access_key", "secret_key",
			"flush_interval", "compact_interval", "file_size", "keep", "pii", "exclude", "hash", "truncate", "pii_except",
			"catalog", "uri", "catalog_name", "warehouse", "namespace", "mode", "credential", "token", "properties"},
			fragment: true, secrets: true},
		"tui":      {attributes: []string{"theme", "ascii"}, blocks: []string{"keys"}, once: true},
		"tui.keys": {once: true, open: true},
	}
}

// isBlockName reports whether name is the type of a block, at any depth.
func isBlockName(name string) bool {
	for path := range schema() {
		if path != "" && path[strings.LastIndexByte(path, '.')+1:] == name {
			return true
		}
	}
	return false
}

// allSettings are the names of all settings, in whatever block they stand.
func allSettings() []string {
	var out []string
	for _, b := range schema() {
		out = append(out, b.attributes...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// secretSettings are the settings that hold a secret, or may: the arguments of a
// program (exec) do.
func secretSettings() []string {
	return []string{"token", "password", "client_secret", "refresh_token", "webhook", "password_hash", "access_key", "secret_key", "credential", "exec"}
}

// labelsOf is how many names a block of that type has, the most where several
// blocks share it.
func labelsOf(kind string) int {
	most := 0
	for path, b := range schema() {
		if path[strings.LastIndexByte(path, '.')+1:] == kind {
			most = max(most, b.labels)
		}
	}
	return most
}

// isPlainSetting reports whether name is a setting that never holds a secret,
// in whatever block it stands.
func isPlainSetting(name string) bool {
	if slices.Contains(secretSettings(), name) {
		return false
	}
	for _, b := range schema() {
		if slices.Contains(b.attributes, name) {
			return true
		}
	}
	return false
}
