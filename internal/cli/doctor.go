package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/store"
)

func (c *command) doctor() *cobra.Command {
	var repair bool
	cmd := c.talking("doctor", "Check the data folder and all that is stored; with --repair mend what can be mended",
		func(cmd *cobra.Command, d *client.Client, _ []string) error {
			found, err := c.diagnose(cmd, d, repair)
			if err != nil {
				return err
			}
			err = c.show(found, func(w io.Writer) error { return showDiagnosis(w, found) })
			if err == nil && !found.Well() {
				err = errReported
			}
			return err
		})
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what can be mended, while no daemon runs; what is lost is fetched at the next start")
	cmd.AddCommand(c.doctorHubSpot())
	return cmd
}

// diagnose looks at the folder itself, or has the daemon look that has it.
func (c *command) diagnose(cmd *cobra.Command, d *client.Client, repair bool) (out client.Diagnosis, err error) {
	if c.addr != "" {
		if repair {
			return out, usageError("--repair is for the data folder on this machine, while no daemon runs")
		}
		return d.Doctor(cmd.Context())
	}
	cfg, err := config.LoadClient(c.options())
	if err != nil {
		return out, configError(err)
	}
	log, err := c.logger("error")
	if err != nil {
		return out, err
	}
	folder := checkFolder(cfg.DataDir, repair)
	found, err := store.Examine(cmd.Context(), store.Options{Dir: storeDir(cfg.DataDir), Logger: log.Named("store")}, repair)
	if locked := (*store.LockedError)(nil); errors.As(err, &locked) && !repair {
		out, err = d.Doctor(cmd.Context())
		out.Findings = append(folder, out.Findings...)
		return out, err
	}
	if err != nil {
		return out, err
	}
	out = client.Diagnosis{Store: found.Store, Epoch: found.Epoch, Findings: folder, Streams: daemon.StreamChecks(found.Streams)}
	for _, f := range found.Findings {
		out.Findings = append(out.Findings, client.Finding(f))
	}
	return out, nil
}

// checkFolder looks at what stands beside the store: whose it is and who may
// read it. With repair it takes the rights of others away.
func checkFolder(dir string, repair bool) []client.Finding {
	out := []client.Finding{}
	owner, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return out // the first start makes it
	}
	if err != nil {
		return append(out, client.Finding{What: err.Error()})
	}
	if err := usableFolder(dir); err != nil {
		out = append(out, client.Finding{What: err.Error(), Todo: "run hubpipe as the user to whom the folder belongs"})
	}
	secrets, _ := filepath.Glob(filepath.Join(dir, "credentials", "*")) // the pattern is right
	for _, path := range append([]string{dir, storeDir(dir), filepath.Join(dir, "token")}, secrets...) {
		info, err := os.Stat(path)
		if err != nil {
			continue // what is missing is made
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			f := client.Finding{What: fmt.Sprintf("%s may be used by others (mode %#o)", path, mode),
				Todo: fmt.Sprintf("chmod %o %s", mode&0o700, path)}
			f.Mended = repair && os.Chmod(path, mode&0o700) == nil
			out = append(out, f)
		}
		if user(info) != user(owner) {
			out = append(out, client.Finding{What: path + " belongs to another user than the data folder",
				Todo: fmt.Sprintf("chown -R %d %s", user(owner), dir)})
		}
	}
	if _, err := daemon.LoadToken(dir, false); err != nil {
		if _, missing := os.Stat(filepath.Join(dir, "token")); missing == nil {
			out = append(out, client.Finding{What: err.Error()})
		}
	}
	for _, name := range []string{"http.sock", "mqtt.sock"} {
		path := filepath.Join(dir, name)
		if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
			out = append(out, client.Finding{What: path + " is no socket", Todo: "remove it; the daemon makes its own"})
		}
	}
	return out
}

func user(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return 0
}

func showDiagnosis(w io.Writer, d client.Diagnosis) error {
	var err error
	say := func(format string, args ...any) {
		_, e := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, e)
	}
	for _, f := range d.Findings {
		switch {
		case f.Mended:
			say("mended: %s\n", clean(f.What))
		default:
			say("wrong: %s\n", clean(f.What))
			if f.Todo != "" {
				say("  to do: %s\n", clean(f.Todo))
			}
		}
	}
	if d.Store != "" {
		say("store %s, epoch %d\n", clean(d.Store), d.Epoch)
	}
	for _, s := range d.Streams {
		say("  %s: %s, %s\n", clean(s.Name), count(int(s.Records), "record"), count(int(s.Tombstones), "tombstone"))
	}
	switch {
	case len(d.Findings) == 0:
		say("nothing is wrong\n")
	case d.Well():
		say("the next start fetches from HubSpot what is missing\n")
	}
	return err
}
