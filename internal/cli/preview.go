package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/stream"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// preview fetches a stream's first records and prints them; nothing is stored.
func (c *command) preview() *cobra.Command {
	var limit int
	var fields []string
	var form *string
	cmd := &cobra.Command{Use: "preview STREAM", Short: "Fetch some records from HubSpot and print them; nothing is stored",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", *form, "json", "table"); err != nil {
				return err
			}
			if limit < 1 || limit > maxPreview {
				return usageError("--limit is from 1 to %d, not %d", maxPreview, limit)
			}
			fields, err := propertyNames(fields)
			if err != nil {
				return err
			}
			hub, s, err := c.reach(args[0])
			if err != nil {
				return err
			}
			defer hub.Close()
			p := worker.Preview{Object: s.Object, Properties: s.Properties, Exclude: s.Exclude, Fields: fields, Limit: limit, Patience: estimateTime}
			return printRecords(c.env.Stdout, *form, limit, fields, func(yield func(client.Record, error) bool) {
				errEnough := errors.New("enough")
				err := p.Fetch(cmd.Context(), hub, func(r *hubspot.Record) error {
					shown, err := previewed(r, fields)
					if err != nil {
						return err
					}
					if !yield(shown, nil) {
						return errEnough
					}
					return nil
				})
				if err != nil && !errors.Is(err, errEnough) {
					yield(client.Record{}, meant(err, args[0]))
				}
			})
		}}
	form = recordForm(cmd)
	cmd.Flags().IntVar(&limit, "limit", 20, "how many")
	cmd.Flags().StringSliceVar(&fields, "fields", nil, "names of properties, with commas (default: those that the stream copies)")
	return cmd
}

// maxPreview bounds what is fetched to be looked at.
const maxPreview = 1000

// propertyNames are those of a flag, each once.
func propertyNames(flag []string) (names []string, err error) {
	for _, f := range flag {
		f = strings.TrimSpace(f)
		switch {
		case f == "":
			return nil, usageError("--fields is names of properties with commas, and one is empty")
		case !slices.Contains(names, f):
			names = append(names, f)
		}
	}
	return names, nil
}

// previewed is a record as it is printed: of its properties those that were asked
// for, in their order, null where it has none.
func previewed(r *hubspot.Record, fields []string) (client.Record, error) {
	optional := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	out := client.Record{ID: r.ID, State: "live", CreatedAt: optional(r.CreatedAt), UpdatedAt: optional(r.UpdatedAt),
		Properties: slices.Clone(r.Properties), Associations: json.RawMessage("{}")}
	if len(fields) == 0 {
		return out, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(r.Properties, &all); err != nil {
		return out, fmt.Errorf("read the properties of %s: %w", r.ID, err)
	}
	b := []byte{'{'}
	for i, f := range fields {
		name, err := json.Marshal(f)
		if err != nil {
			return out, fmt.Errorf("write the name %q: %w", f, err)
		}
		if i > 0 {
			b = append(b, ',')
		}
		value := all[f]
		if value == nil {
			value = json.RawMessage("null")
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	out.Properties = append(b, '}')
	return out, nil
}

// meant is the error of a property that there is not, with the one that was
// probably meant.
func meant(err error, name string) error {
	unknown, ok := errors.AsType[*worker.UnknownPropertyError](err)
	if !ok {
		return err
	}
	hint := fmt.Sprintf("`hubpipe preview %s --limit 1` prints those that the stream copies", name)
	if near := stream.Nearest(unknown.Property, unknown.Known); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return usageError("%w\n  hint: %s", err, hint)
}
