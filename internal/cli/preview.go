package cli

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/worker"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// preview fetches a stream's first records and prints them; nothing is stored.
func (c *command) preview() *cobra.Command {
	var limit int
	var form *string
	cmd := &cobra.Command{Use: "preview STREAM", Short: "Fetch some records from HubSpot and print them; nothing is stored",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", *form, "json", "table"); err != nil {
				return err
			}
			if limit < 1 || limit > maxPreview {
				return usageError("--limit is from 1 to %d, not %d", maxPreview, limit)
			}
			hub, s, err := c.reach(args[0])
			if err != nil {
				return err
			}
			defer hub.Close()
			return printRecords(c.env.Stdout, *form, limit, nil, func(yield func(client.Record, error) bool) {
				errEnough := errors.New("enough")
				err := worker.Preview(cmd.Context(), hub, s.Object, s.Properties, s.Exclude, limit, func(r *hubspot.Record) error {
					optional := func(text string) *string {
						if text == "" {
							return nil
						}
						return &text
					}
					if !yield(client.Record{ID: r.ID, State: "live", CreatedAt: optional(r.CreatedAt), UpdatedAt: optional(r.UpdatedAt),
						Properties: slices.Clone(r.Properties), Associations: json.RawMessage("{}")}, nil) {
						return errEnough
					}
					return nil
				})
				if err != nil && !errors.Is(err, errEnough) {
					yield(client.Record{}, err)
				}
			})
		}}
	form = recordForm(cmd)
	cmd.Flags().IntVar(&limit, "limit", 20, "how many")
	return cmd
}

// maxPreview bounds what is fetched to be looked at.
const maxPreview = 1000
