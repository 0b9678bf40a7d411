package cli

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/tui"
)

func (c *command) dashboard() *cobra.Command {
	var o tui.Options
	var plain, ascii bool
	cmd := c.asking("tui", "The dashboard: every stream at a glance, start and stop by keys", func(cmd *cobra.Command, d *client.Client, _ []string) error {
		if err := oneOf("theme", o.Theme, tui.Themes()...); err != nil {
			return err
		}
		if plain || !c.fullScreen() {
			c.output = "table"
			return c.showStatus(cmd, d, nil)
		}
		own := o
		if !cmd.Flags().Changed("theme") {
			own.Theme = ""
		}
		if err := c.configured(&own, &ascii); err != nil {
			return err
		}
		own.Blocks = !ascii && c.drawsBlocks()
		return c.openDashboard(cmd.Context(), d, own)
	})
	cmd.Long = `The dashboard: every stream at a glance, start and stop by keys; ? lists them.

It runs against a daemon on another machine with --addr. Leaving it leaves the
daemon running. Where there is no terminal, with TERM=dumb or --plain, it prints
the table of ` + "`hubpipe status`" + ` and ends.

Its theme and its keys can be set in hubpipe.hcl, in the block tui; docs/KEYS.md
names them. That file is this machine's, also with --addr.`
	cmd.Flags().BoolVar(&o.ReadOnly, "read-only", false, "look, and change nothing")
	cmd.Flags().StringVar(&o.Theme, "theme", "auto", strings.Join(tui.Themes(), ", "))
	cmd.Flags().BoolVar(&ascii, "ascii", false, "draw rates without blocks, for terminals in which those are as wide as two letters")
	cmd.Flags().BoolVar(&plain, "plain", false, "print one table and end")
	return cmd
}

// fullScreen tells whether a dashboard can be drawn and its keys read.
func (c *command) fullScreen() bool {
	in, ok := c.env.Stdin.(*os.File)
	kind, _ := c.env.Getenv("TERM")
	return ok && isTerminal(in) && c.tty != nil && kind != "dumb"
}

// configured adds what the configuration says of the dashboard, where no flag
// does, and the configuration itself where it is that of the daemon.
func (c *command) configured(o *tui.Options, ascii *bool) error {
	d, err := config.LoadDashboard(c.options())
	switch {
	case err != nil && c.addr != "" && c.config == "":
		return nil // whatever lies here is not what was asked for
	case err != nil:
		return configError(err)
	}
	o.Theme, o.Keys = cmp.Or(o.Theme, d.Theme), d.Keys
	*ascii = *ascii || d.ASCII
	if c.addr != "" {
		return nil
	}
	if mine, err := config.LoadClient(c.options()); err == nil {
		o.File = mine.Path
	}
	o.Editor = c.editor()
	return nil
}

// editor is the user's, with its arguments; nil where there is none.
func (c *command) editor() []string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if v, _ := c.env.Getenv(name); strings.TrimSpace(v) != "" {
			return strings.Fields(v)
		}
	}
	if path, err := exec.LookPath("vi"); err == nil {
		return []string{path}
	}
	return nil
}

// openDashboard shows the dashboard until it is left.
func (c *command) openDashboard(ctx context.Context, d *client.Client, o tui.Options) error {
	o.Client, o.Version, o.Input, o.Output = d, c.env.Version, c.env.Stdin, c.tty
	return tui.Run(ctx, o)
}

// drawsBlocks tells whether the terminal shows more than ASCII.
func (c *command) drawsBlocks() bool {
	if kind, _ := c.env.Getenv("TERM"); kind == "linux" {
		return false
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v, _ := c.env.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// welcome is hubpipe without a verb: the dashboard of a daemon that runs, else
// an offer to start one. Without a terminal it is the help.
func (c *command) welcome(cmd *cobra.Command) error {
	if !c.fullScreen() {
		return cmd.Help()
	}
	d, err := c.client()
	if err != nil {
		return c.offer(cmd, "the configuration is not in order: "+err.Error())
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	err = d.Healthy(ctx)
	if problem := (*client.Problem)(nil); err == nil || errors.As(err, &problem) {
		var o tui.Options
		ascii := false
		if err := c.configured(&o, &ascii); err != nil {
			return err
		}
		o.Blocks = !ascii && c.drawsBlocks()
		return c.openDashboard(cmd.Context(), d, o)
	}
	if cmd.Context().Err() != nil {
		return cmd.Context().Err()
	}
	return c.offer(cmd, "no daemon runs here")
}

// offer asks what to start.
func (c *command) offer(cmd *cobra.Command, why string) error {
	fmt.Fprintf(c.env.Stdout, `%s.

  u  hubpipe up     fetch from your HubSpot, with this folder's configuration
  d  hubpipe demo   see it work, without an account
  h  hubpipe --help

u, d, h, or Enter to leave: `, why)
	line, err := await(cmd.Context(), func() ([]byte, error) { return bufio.NewReader(c.env.Stdin).ReadBytes('\n') })
	if err != nil { // the end of the input, or of the process, is to leave
		return cmd.Context().Err()
	}
	switch strings.TrimSpace(string(line)) {
	case "u", "up":
		return c.runDaemon(cmd.Context(), true)
	case "d", "demo":
		return c.runDemo(cmd.Context(), false, "", "")
	case "h", "help":
		return cmd.Help()
	}
	return nil
}

// watchStatus prints the table, and then a line for each stream that changes,
// until ctx ends. A daemon that goes away is waited for.
func (c *command) watchStatus(ctx context.Context, d *client.Client, name string) error {
	last := uint64(0)
	known := map[string]string{}
	for {
		err := c.follow(ctx, d, name, &last, known)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if problem := (*client.Problem)(nil); errors.As(err, &problem) || err != nil && last == 0 {
			return err
		}
		if len(known) > 0 { // it was there until now
			fmt.Fprintf(c.env.Stderr, "%s the daemon is not there any more; waiting for it\n", time.Now().UTC().Format("15:04:05Z"))
		}
		clear(known)
		if err := pause(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}

// follow prints what changes over one connection.
func (c *command) follow(ctx context.Context, d *client.Client, name string, last *uint64, known map[string]string) error {
	for e, err := range d.Events(ctx, *last) {
		if err != nil {
			return err
		}
		*last = e.ID
		if len(known) == 0 {
			ss, err := d.Streams(ctx)
			if err != nil {
				return err
			}
			ss = slices.DeleteFunc(ss, func(s client.Status) bool { return name != "" && s.Name != name })
			known[""] = "begun"
			if err := c.statuses(ss); err != nil {
				return err
			}
			for _, s := range ss {
				known[s.Name] = statusText(s)
			}
		}
		s, ok := statusOf(e)
		if !ok || name != "" && s.Name != name {
			continue
		}
		text := statusText(s)
		if text == known[s.Name] {
			continue
		}
		known[s.Name] = text
		if _, err := fmt.Fprintf(c.env.Stdout, "%s %s\n", time.Now().UTC().Format("15:04:05Z"), text); err != nil {
			return err
		}
	}
	return nil
}

func statusOf(e client.Event) (s client.Status, ok bool) {
	return s, e.Type == client.EventStream && json.Unmarshal(e.Data, &s) == nil
}

// statusText is how a stream stands, in one plain line.
func statusText(s client.Status) string {
	text := fmt.Sprintf("%s %s, %d records", clean(s.Name), clean(s.State), s.Records)
	if s.Run != nil {
		text += fmt.Sprintf(", %s run %s", clean(s.Run.Kind), clean(s.Run.ID))
	}
	if s.Error != nil {
		text += ": " + clean(s.Error.Error())
	}
	return text
}
