package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// man writes a page for each verb, from what --help says.
func (c *command) man() *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: "man", Short: "Write man pages, one for each verb",
		Long: `Write man pages, one for each verb.

They say what --help says. For all users of a machine:

  hubpipe man --dir /usr/local/share/man/man1`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError("`%s` needs --dir\n  usage: %s --dir DIR", cmd.CommandPath(), cmd.CommandPath())
			}
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // man pages are everybody's to read
				return fmt.Errorf("make the folder of the man pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			header := &doc.GenManHeader{Section: "1", Source: "hubpipe " + c.env.Version, Manual: "hubpipe"}
			if err := doc.GenManTree(root, header, dir); err != nil {
				return fmt.Errorf("write the man pages: %w", err)
			}
			pages, err := os.ReadDir(dir)
			if err != nil {
				return fmt.Errorf("look at the man pages: %w", err)
			}
			n := 0
			for _, p := range pages {
				if strings.HasPrefix(p.Name(), "hubpipe") {
					n++
				}
			}
			fmt.Fprintf(c.env.Stderr, "%s in %s\n", count(n, "page"), dir)
			return nil
		}}
	cmd.Flags().StringVar(&dir, "dir", "", "the folder to write them to")
	return cmd
}
