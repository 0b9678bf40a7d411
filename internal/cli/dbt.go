package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
)

// dbt writes sources and staging models for a destination's tables.
func (c *command) dbt() *cobra.Command {
	var dir, name, source string
	var force bool
	cmd := c.asking("dbt", "Write dbt sources and staging models for a destination's tables", func(cmd *cobra.Command, d *client.Client, _ []string) error {
		if dir == "" {
			return usageError("`%s` needs --out\n  usage: %s --out models/staging/hubspot", cmd.CommandPath(), cmd.CommandPath())
		}
		if !plainName(source) {
			return usageError("--source is the name of a source in dbt, such as hubspot: small letters, digits and _")
		}
		if name == "" {
			var err error
			if name, err = onlyDestination(cmd, d); err != nil {
				return err
			}
		}
		t, err := d.DestinationTables(cmd.Context(), name)
		if err != nil {
			return err
		}
		files := dbtFiles(t, source)
		if err := writeAll(dir, files, force); err != nil {
			return err
		}
		fmt.Fprintf(c.env.Stderr, "%s in %s\n", count(len(files), "file"), dir)
		return nil
	})
	cmd.Long = `Write dbt sources and staging models for a destination's tables, made of HubSpot's
definitions and of what the destination calls things:

  sources.yml    every table with its columns, HubSpot's labels, tests, and the
                 freshness of hubpipe_streams, which is written each minute
  models.yml     the staging models
  stg_hubspot__contacts.sql and so on: live rows, under names that need no quotes

Files that are there stay, unless --force is given. Build on the models rather than
in them, so that they can be written again when HubSpot's properties have changed.`
	f := cmd.Flags()
	f.StringVar(&dir, "out", "", "the folder to write them to, in a dbt project below models")
	f.StringVar(&name, "destination", "", "which destination (default: the only one)")
	f.StringVar(&source, "source", "hubspot", "what the source is called in dbt")
	f.BoolVar(&force, "force", false, "overwrite files that are there")
	return cmd
}

// onlyDestination is the name of the one destination that there is.
func onlyDestination(cmd *cobra.Command, d *client.Client) (string, error) {
	list, err := d.Destinations(cmd.Context())
	switch {
	case err != nil:
		return "", err
	case len(list) == 0:
		return "", errors.New(`there is no destination: add destination "postgres" "warehouse" { … } to the configuration`)
	case len(list) > 1:
		names := make([]string, len(list))
		for i, x := range list {
			names[i] = x.Name
		}
		return "", usageError("which destination? --destination %s", strings.Join(names, ", or --destination "))
	}
	return list[0].Name, nil
}

// writeAll writes files into a folder: all of them, or none where one is there.
func writeAll(dir string, files map[string][]byte, force bool) error {
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); !force && !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return fmt.Errorf("look for %s: %w", name, err)
			}
			return fmt.Errorf("%s is there already, and nothing was written: --force overwrites it", filepath.Join(dir, name))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a project's folder
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), files[name], 0o644); err != nil { //nolint:gosec // a project's files; there are no values in them
			return fmt.Errorf("write a file: %w", err)
		}
	}
	return nil
}

// dbtFiles are the files of a project, by name.
func dbtFiles(t client.DestinationTables, source string) map[string][]byte {
	files := map[string][]byte{"sources.yml": dbtSources(t, source)}
	models := bytes.NewBufferString(dbtHead("#") + "version: 2\n\nmodels:\n")
	used := map[string]bool{}
	for _, x := range t.Tables {
		model := unique(used, "stg_"+source+"__"+plain(x.Table))
		files[model+".sql"] = dbtModel(x, source)
		fmt.Fprintf(models, "  - name: %s\n    description: %s\n    columns:\n", model, yaml("live rows of "+x.Table+", thinly"))
		names := map[string]bool{}
		for _, c := range modelColumns(x) {
			dbtColumn(models, "      ", client.DestinationColumn{Name: unique(names, plain(c.Name)), Type: c.Type, Property: c.Property, Label: c.Label}, false)
		}
	}
	files["models.yml"] = models.Bytes()
	return files
}

func dbtHead(comment string) string {
	return comment + " Made by `hubpipe dbt`. Build on it rather than in it: --force writes it again.\n"
}

func dbtSources(t client.DestinationTables, source string) []byte {
	b := bytes.NewBufferString(dbtHead("#") + "version: 2\n\nsources:\n")
	fmt.Fprintf(b, "  - name: %s\n    description: %s\n    loader: hubpipe\n", source, yaml("HubSpot, copied by hubpipe"))
	if t.Database != "" {
		fmt.Fprintf(b, "    database: %s\n", yaml(t.Database))
	}
	if t.Schema != "" {
		fmt.Fprintf(b, "    schema: %s\n", yaml(t.Schema))
	}
	b.WriteString("    quoting:\n      database: true\n      schema: true\n      identifier: true\n    tables:\n")
	for _, x := range t.Tables {
		fmt.Fprintf(b, "      - name: %s\n        description: %s\n", yaml(x.Table), yaml("HubSpot "+x.Object+": a row a record, those that have ended included"))
		b.WriteString("        loaded_at_field: _hubpipe_synced_at\n        columns:\n")
		for _, c := range x.Columns {
			if !jinja(c.Name) {
				dbtColumn(b, "          ", c, true)
			}
		}
		if t.Kind == config.TypeFiles || t.Kind == config.TypeIceberg {
			continue // what stands beside is in columns there
		}
		if x.Associations != "" {
			dbtBeside(b, x.Associations, "what the records of "+x.Table+" are associated with, a row for each type", "id", "to_object", "to_id", "category", "type_id", "label")
		}
		if x.History != "" {
			dbtBeside(b, x.History, "what the properties of "+x.Table+" have been; ordinal 0 is the newest", "id", "property", "ordinal", "changed_at", "value", "source_type", "source_id")
		}
	}
	if t.Schema != "" && t.Kind != config.TypeIceberg {
		b.WriteString(`      - name: "hubpipe_streams"
        description: "how each stream stands; it is written each minute while the daemon runs"
        loaded_at_field: described_at
        freshness:
          warn_after: {count: 15, period: minute}
          error_after: {count: 2, period: hour}
        columns:
          - name: "stream"
            data_tests: [unique, not_null]
          - name: "complete_until"
            description: "everything that HubSpot changed before it is in the table"
`)
		dbtBeside(b, "hubpipe_properties", "each property: its column, type and label, and what is done with it", "stream", "property", "column_name", "label", "handling")
		dbtBeside(b, "hubpipe_property_options", "labels of the values of enumerations", "stream", "property", "value", "label")
		dbtBeside(b, "hubpipe_schema_changes", "what became of the tables when properties changed", "at", "stream", "property", "change")
	}
	return b.Bytes()
}

// dbtBeside is a table beside those of the streams.
func dbtBeside(b *bytes.Buffer, name, what string, columns ...string) {
	fmt.Fprintf(b, "      - name: %s\n        description: %s\n        columns:\n", yaml(name), yaml(what))
	for _, c := range columns {
		fmt.Fprintf(b, "          - name: %s\n", yaml(c))
	}
}

// dbtColumn is a column of a source, quoted as it is, or of a model.
func dbtColumn(b *bytes.Buffer, indent string, c client.DestinationColumn, source bool) {
	fmt.Fprintf(b, "%s- name: %s\n", indent, yaml(c.Name))
	if source {
		fmt.Fprintf(b, "%s  quote: true\n", indent)
	}
	if c.Label != "" {
		fmt.Fprintf(b, "%s  description: %s\n", indent, yaml(c.Label))
	}
	if c.Property != "" {
		return
	}
	switch c.Name {
	case "id":
		fmt.Fprintf(b, "%s  data_tests: [unique, not_null]\n", indent)
	case "_hubpipe_seq":
		fmt.Fprintf(b, "%s  data_tests: [not_null]\n", indent)
	case "_hubpipe_state":
		fmt.Fprintf(b, "%s  data_tests:\n%s    - not_null\n%s    - accepted_values:\n%s        values: [live, archived, purged, merged]\n", indent, indent, indent, indent)
	}
}

// modelColumns are those of a staging model: not those that live rows do not
// have.
func modelColumns(x client.DestinationTable) (out []client.DestinationColumn) {
	for _, c := range x.Columns {
		if c.Property == "" && slices.Contains([]string{"_hubpipe_state", "_hubpipe_archived_at", "_hubpipe_merged_into"}, c.Name) || jinja(c.Name) {
			continue
		}
		out = append(out, c)
	}
	return out
}

func dbtModel(x client.DestinationTable, source string) []byte {
	b := bytes.NewBufferString(dbtHead("--") + "select\n")
	used := map[string]bool{}
	list := modelColumns(x)
	for i, c := range list {
		comma := ","
		if i == len(list)-1 {
			comma = ""
		}
		quoted := `"` + strings.ReplaceAll(c.Name, `"`, `""`) + `"`
		if as := unique(used, plain(c.Name)); as != c.Name {
			quoted += ` as "` + as + `"`
		}
		fmt.Fprintf(b, "    %s%s\n", quoted, comma)
	}
	fmt.Fprintf(b, "from {{ source('%s', %s) }}\nwhere \"_hubpipe_state\" = 'live'\n", source, jinjaText(x.Table))
	return b.Bytes()
}

// jinja tells whether dbt would take a part of a name for its own.
func jinja(name string) bool {
	return strings.Contains(name, "{{") || strings.Contains(name, "{%") || strings.Contains(name, "{#")
}

// jinjaText is text as Jinja takes it.
func jinjaText(s string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "'", `\'`) + "'"
}

// yaml is text as YAML takes it, which dbt takes for nothing else.
func yaml(s string) string {
	for jinja(s) {
		s = strings.NewReplacer("{{", "{ {", "{%", "{ %", "{#", "{ #").Replace(s)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(strings.ToValidUTF8(s, "\uFFFD")) // text always can be
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		// JSON lets some through that YAML does not.
		if r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// plain is a name that needs no quotes.
func plain(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r < unicode.MaxASCII && (r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)) {
			b.WriteRune(r)
		} else {
			b.WriteByte('_')
		}
	}
	out := b.String()
	if out == "" || unicode.IsDigit(rune(out[0])) {
		out = "_" + out
	}
	return out
}

func plainName(name string) bool { return name != "" && plain(name) == name }

// unique takes a name, with a number where it is taken.
func unique(used map[string]bool, name string) string {
	out := name
	for n := 2; used[out]; n++ {
		out = fmt.Sprintf("%s_%d", name, n)
	}
	used[out] = true
	return out
}
