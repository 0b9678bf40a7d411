package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// available is what can be copied, as it is printed.
type available struct {
	Name     string   `json:"name"`
	TypeID   string   `json:"type_id,omitempty"`
	Strategy string   `json:"strategy"`
	Interval string   `json:"interval"`
	Scopes   []string `json:"scopes"`
	// Instead are scopes of which any one does as well.
	Instead []string `json:"instead,omitempty"`
	// For is what it is read for again and again.
	For   string `json:"for,omitempty"`
	Ready bool   `json:"ready"`
	// OnRequest says that its scope allows more than reading.
	OnRequest bool `json:"on_request,omitempty"`
}

// showAvailable lists what the catalogue has; no daemon is asked.
func (c *command) showAvailable() error {
	var all []available
	for _, o := range catalogue.All() {
		a := available{Name: o.Name, TypeID: o.TypeID, Strategy: o.Strategy.String(), Interval: config.FormatDuration(o.Interval),
			Scopes: o.Scopes, Instead: o.Instead, Ready: o.Ready, OnRequest: o.OnRequest}
		switch o.Endpoint.Parent.Kind {
		case catalogue.ParentStream:
			a.For = o.Endpoint.Parent.Stream
		case catalogue.ParentObjectTypes:
			a.For = "objects"
		case catalogue.ParentPairs:
			a.For = "pairs of objects"
		case catalogue.ParentEventObjects:
			a.For = "objects with events"
		case catalogue.ParentPairRecords:
			a.For = "pairs it names"
		}
		all = append(all, a)
	}
	return c.show(map[string]any{"streams": all}, func(out io.Writer) error {
		// Scopes are there to be copied: none is shortened to a screen.
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "STREAM\tREAD\tFOR EACH OF\tINTERVAL\tSCOPES")
		for _, a := range all {
			scopes := strings.Join(a.Scopes, ", ")
			if len(a.Instead) > 0 {
				scopes += " or " + strings.Join(a.Instead, " or ")
			}
			if !a.Ready {
				scopes += " (not read yet)"
			}
			if a.OnRequest {
				scopes += " (allows writing: only where a stream names it)"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.Name, a.Strategy, cmp.Or(a.For, "-"), a.Interval, scopes)
		}
		return w.Flush()
	})
}
