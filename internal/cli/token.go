package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/config"
)

func (c *command) token() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Print hubpipe's own token, for HTTP and MQTT; sub-verbs make further ones",
		RunE: func(*cobra.Command, []string) error {
			return c.inFolder(func(dir string) error {
				t, err := daemon.LoadToken(dir, false)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.env.Stdout, t)
				return err
			})
		}}
	cmd.AddCommand(c.tokenCreate(), c.tokenList(), c.tokenRevoke(), c.tokenHash())
	return cmd
}

// inFolder does something with the configured data folder; no daemon is asked.
func (c *command) inFolder(f func(dir string) error) error {
	cfg, err := config.LoadClient(c.options())
	if err != nil {
		return configError(err)
	}
	return f(cfg.DataDir)
}

func (c *command) tokenCreate() *cobra.Command {
	var role, name string
	var replace bool
	cmd := &cobra.Command{Use: "create", Short: "Make a token for a worker, a person or a program, and print it this once",
		Long: `Make a token for a worker, a person or a program, and print it this once.

Roles: worker (the worker of that name on the message bus, and nothing else),
control (everything), reader (everything is read, nothing changed). Over MQTT the
name is the user name and the token the password; over HTTP the token is a bearer
token. A running daemon takes it at once. Only a digest is kept.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"role", "name"} {
				if !cmd.Flags().Changed(flag) {
					return usageError("`%s` needs --%s\n  usage: %s --role worker|control|reader --name NAME", cmd.CommandPath(), flag, cmd.CommandPath())
				}
			}
			if strings.Contains(role, ",") || !access.ValidRole(access.Role(role)) {
				return usageError("--role has no value %q; there are worker, control, reader", role)
			}
			if !access.ValidName(name) {
				return usageError("--name %q has to be 1 to 64 of a-z, 0-9, _ and -, and not begin with %s", name, access.Owner)
			}
			if c.output != "table" && c.output != "json" {
				return usageError("--output is table (the token alone) or json, not %q", c.output)
			}
			return c.inFolder(func(dir string) error {
				secret, err := access.Create(dir, name, access.Role(role), replace)
				if errors.Is(err, access.ErrExists) {
					return fmt.Errorf("%w\n  hint: --replace revokes it and makes another one", err)
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(c.env.Stderr, "a token of the role %s for %s; it is not shown again\n", role, name)
				return c.show(map[string]string{"name": name, "role": role, "token": secret}, func(w io.Writer) error {
					_, err := fmt.Fprintln(w, secret)
					return err
				})
			})
		}}
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "table (the token alone) or json")
	cmd.Flags().StringVar(&role, "role", "", "worker, control or reader")
	cmd.Flags().StringVar(&name, "name", "", "whose it is; of a worker its --name")
	cmd.Flags().BoolVar(&replace, "replace", false, "revoke the one of that name, if there is one")
	return cmd
}

func (c *command) tokenList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the tokens that were made; not themselves, since nobody has them",
		RunE: func(*cobra.Command, []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			return c.inFolder(func(dir string) error {
				all, err := access.List(dir)
				if err != nil {
					return err
				}
				type shown struct {
					Name    string      `json:"name"`
					Role    access.Role `json:"role"`
					Created time.Time   `json:"created"`
				}
				list := []shown{}
				rows := [][]string{{"NAME", "ROLE", "CREATED"}}
				for _, t := range all {
					list = append(list, shown{t.Name, t.Role, t.Created})
					rows = append(rows, []string{t.Name, string(t.Role), moment(t.Created, time.Now())})
				}
				return c.show(map[string]any{"tokens": list}, func(w io.Writer) error { return table(w, rows) })
			})
		}}
	c.outputFlag(cmd)
	return cmd
}

func (c *command) tokenRevoke() *cobra.Command {
	return &cobra.Command{Use: "revoke NAME", Short: "Take a token away; whoever is connected with it is cut off",
		RunE: func(_ *cobra.Command, args []string) error {
			return c.inFolder(func(dir string) error {
				if err := access.Revoke(dir, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(c.env.Stderr, "the token of %s is revoked\n", args[0])
				return nil
			})
		}}
}

// tokenHash reads a password where nobody looks on: not from the arguments,
// which every process of the machine can list.
func (c *command) tokenHash() *cobra.Command {
	return &cobra.Command{Use: "hash", Short: "Read a password from stdin and print its hash, for a user block of the configuration",
		RunE: func(cmd *cobra.Command, _ []string) error {
			password, err := c.readPassword(cmd.Context())
			if err != nil {
				return err
			}
			hash, err := access.HashPassword(password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.env.Stdout, hash)
			return err
		}}
}

func (c *command) readPassword(ctx context.Context) (string, error) {
	if c.keyboard() != nil {
		return c.hidden(ctx, "password: ")
	}
	b, err := io.ReadAll(io.LimitReader(c.env.Stdin, 4096))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
