package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
)

func (c *command) check() *cobra.Command {
	var estimate bool
	cmd := &cobra.Command{Use: "check", Short: "Check the configuration, and say what it costs",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			cfg, err := c.load()
			if err != nil {
				return err
			}
			if err := usableFolder(cfg.DataDir); err != nil {
				return configError(fmt.Errorf("data_dir %s cannot be used: %w", cfg.DataDir, err))
			}
			where := cfg.Path
			if where == "" {
				where = "no file"
			}
			lacks, err := daemon.AskBroker(cmd.Context(), cfg.Broker)
			if err != nil { // it may be reached from elsewhere alone
				lacks = []string{"it cannot be asked: " + err.Error()}
			}
			for _, what := range lacks {
				fmt.Fprintf(c.env.Stderr, "%s: warning: the broker at %s: %s\n", where, cfg.Broker.URL, what)
			}
			out := c.env.Stdout
			if estimate && c.output == "json" {
				out = c.env.Stderr // what is printed besides is data
			}
			if !estimate && c.output == "json" {
				err = c.show(map[string]any{"file": cfg.Path, "streams": len(cfg.Streams), "portals": len(cfg.Portals), "data_dir": cfg.DataDir,
					"blocked": append([]string{}, cfg.Blocked()...), "broker_lacks": append([]string{}, lacks...)}, nil)
			} else {
				_, err = fmt.Fprintf(out, "%s: %s of %s; data in %s\n", where, count(len(cfg.Streams), "stream"),
					count(len(cfg.Portals), "portal"), cfg.DataDir)
			}
			if estimate {
				err = errors.Join(err, c.estimate(cmd.Context(), cfg))
			}
			if len(cfg.Blocked()) > 0 {
				return configError(errReported)
			}
			return err
		}}
	cmd.Flags().BoolVar(&estimate, "estimate", false, "ask HubSpot for the sizes and print what reading them costs")
	c.outputFlag(cmd)
	return cmd
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// usableFolder tells whether the folder is there, or can be made, and can be
// written in. It makes nothing.
func usableFolder(dir string) error {
	for {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s is no folder", dir)
		case err == nil:
			const writeAndEnter = 3
			if syscall.Access(dir, writeAndEnter) != nil {
				return fmt.Errorf("%s may not be written by this user", dir)
			}
			return nil
		case errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrNotExist):
			if parent := filepath.Dir(dir); parent != dir {
				dir = parent
				continue
			}
		}
		return err
	}
}
