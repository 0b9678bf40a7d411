package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/api/client"
	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/daemon/store"
	"github.com/hubpipe/hubpipe/internal/durable"
)

// standard is how stdin and stdout are named in the place of a file.
const standard = "-"

func (c *command) backup() *cobra.Command {
	cmd := c.asking("backup FILE", "Write all that the store holds to a file, while the daemon runs (- is stdout)",
		func(cmd *cobra.Command, d *client.Client, args []string) error {
			if args[0] != standard {
				return c.backupTo(cmd, d, args[0])
			}
			if c.terminal {
				return usageError("a backup is not for a terminal: name a file, or redirect stdout")
			}
			return fetchBackup(cmd.Context(), d, c.env.Stdout)
		})
	cmd.Annotations = map[string]string{judging: "yes"}
	return cmd
}

// fetchBackup says of an answer that was cut where its reason stands.
func fetchBackup(ctx context.Context, d *client.Client, w io.Writer) error {
	n := &counter{w: w}
	err := d.Backup(ctx, n)
	if n.bytes > 0 && errors.Is(err, client.ErrUnreachable) {
		return &exitError{ExitFailure, fmt.Errorf("the daemon broke the backup off; its log says why, and so does `hubpipe doctor`: %w", err)}
	}
	return err
}

// counter counts what is written.
type counter struct {
	w     io.Writer
	bytes int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.bytes += int64(n)
	return n, err
}

// backupTo makes the file under another name and gives it its own when it is
// on disk and was read again: what bears the name is whole.
func (c *command) backupTo(cmd *cobra.Command, d *client.Client, path string) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".hubpipe-backup-*")
	if err != nil {
		return fmt.Errorf("make the backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // or it is closed already
			_ = os.Remove(f.Name())
		}
	}()
	if err := fetchBackup(cmd.Context(), d, f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	h, err := store.VerifyBackup(f)
	if err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = durable.SyncFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	fmt.Fprintf(c.env.Stderr, "%s: %.1f MiB, store %s, epoch %d, up to position %d\n", path, float64(size)/(1<<20), h.Store, h.Epoch, h.Position)
	return nil
}

func (c *command) restore() *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "restore FILE", Short: "Make the store of an empty data folder from a backup, while no daemon runs (- is stdin)",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.LoadClient(c.options())
			if err != nil {
				return configError(err)
			}
			log, err := c.logger("warn")
			if err != nil {
				return err
			}
			in := c.env.Stdin
			if args[0] != standard {
				f, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("open the backup: %w", err)
				}
				defer f.Close()
				in = f
			}
			r, err := store.Restore(cmd.Context(), store.Options{Dir: storeDir(cfg.DataDir), Logger: log.Named("store")}, in, force)
			if r.Aside != "" {
				fmt.Fprintf(c.env.Stderr, "the store that was there lies in %s\n", r.Aside)
			}
			if err != nil {
				return fmt.Errorf("restore %s: %w", args[0], err)
			}
			c.showRestored(r)
			return nil
		}}
	cmd.Flags().BoolVar(&force, "force", false, "move a store that is there aside")
	return cmd
}

// storeDir is where in a data folder the store lies.
func storeDir(dataDir string) string { return filepath.Join(dataDir, "store") }

func (c *command) showRestored(r store.Restored) {
	w := c.env.Stderr
	fmt.Fprintf(w, "restored store %s as of %s, in epoch %d\n", r.Backup.Store, r.Backup.Made.UTC().Format(time.RFC3339), r.Epoch)
	for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(w, "  %s: %s, %s\n", clean(name), count(int(r.Counts[name].Live), "record"), count(int(r.Counts[name].Tombstones()), "tombstone"))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Missing)) {
		fmt.Fprintf(w, "  %s: %s had been lost before the backup was made, and will be fetched\n", clean(name), count(int(r.Missing[name]), "record"))
	}
	fmt.Fprintln(w, "When the daemon is started, every stream goes on from there, and is held against HubSpot once.\n"+
		"What was erased since the backup was made has to be erased again.")
}
