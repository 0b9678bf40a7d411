package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot"
	"github.com/hubpipe/hubpipe/worker/hubspot/catalogue"
)

// probeTime bounds the questions to one portal.
const probeTime = 3 * time.Minute

// probed is what a portal was found to do.
type probed struct {
	Portal   string            `json:"portal"`
	Account  int64             `json:"account"`
	Object   string            `json:"object"`
	Findings []hubspot.Finding `json:"findings"`
	Error    string            `json:"error,omitempty"`
}

// doctorHubSpot asks the portals what HubSpot does not document.
func (c *command) doctorHubSpot() *cobra.Command {
	var portal, object string
	cmd := &cobra.Command{
		Use: "hubspot", Short: "Ask HubSpot about what it does not document, and print what it does",
		Long: "It only reads, about thirty requests a portal, and prints no value of a record.\n" +
			"hubpipe goes on whatever is found; what is not as assumed is worth a report.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			o, ok := catalogue.Lookup(object)
			if !ok || o.Strategy != catalogue.StrategyObjects {
				return usageError("--object is an object of the CRM such as contacts, not %q", object)
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			if _, known := cfg.PortalByName(portal); portal != "" && !known {
				return usageError("the configuration has no portal %q", portal)
			}
			return c.probe(cmd.Context(), cfg, portal, o)
		},
	}
	c.outputFlag(cmd)
	cmd.Flags().StringVar(&portal, "portal", "", "the portal to ask; all of them by default")
	cmd.Flags().StringVar(&object, "object", "contacts", "the object to ask about")
	return cmd
}

func (c *command) probe(ctx context.Context, cfg *config.Config, portal string, o catalogue.Object) error {
	all, failed := []probed{}, false
	for _, x := range cfg.Portals {
		if portal != "" && x.Name != portal {
			continue
		}
		p := probed{Portal: x.Name, Object: o.Name, Findings: []hubspot.Finding{}, Error: x.Problem}
		if x.Problem == "" {
			p = probePortal(ctx, x, cfg.DataDir, o)
		}
		failed = failed || p.Error != ""
		all = append(all, p)
	}
	if err := c.show(map[string]any{"portals": all}, func(w io.Writer) error { return probeTable(w, all) }); err != nil {
		return err
	}
	if failed {
		return errReported
	}
	return nil
}

func probePortal(ctx context.Context, x config.Portal, dataDir string, o catalogue.Object) probed {
	p := probed{Portal: x.Name, Object: o.Name, Findings: []hubspot.Finding{}}
	client := hubspot.New(portalOptions(x, dataDir))
	defer client.Close()
	client.Impatient()
	bound, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	account, err := client.Account(bound)
	if err == nil {
		p.Account = account.PortalID
		var found []hubspot.Finding
		found, err = client.Probe(bound, o)
		p.Findings = append(p.Findings, found...)
	}
	if err != nil {
		p.Error = inWords(err)
	}
	return p
}

func probeTable(w io.Writer, all []probed) error {
	for _, p := range all {
		if _, err := fmt.Fprintf(w, "portal %s, account %d, %s\n", p.Portal, p.Account, p.Object); err != nil {
			return fmt.Errorf("write what was found: %w", err)
		}
		for _, f := range p.Findings {
			mark := " "
			if !f.As {
				mark = "!"
			}
			text := fmt.Sprintf("%s %s: %s\n", mark, f.Point, clean(f.Found))
			if f.Assumed != "" {
				text += "    assumed: " + f.Assumed + "\n"
			}
			if _, err := io.WriteString(w, text); err != nil {
				return fmt.Errorf("write what was found: %w", err)
			}
		}
		if p.Error != "" {
			if _, err := fmt.Fprintf(w, "! %s\n", clean(p.Error)); err != nil {
				return fmt.Errorf("write what was found: %w", err)
			}
		}
	}
	return nil
}
