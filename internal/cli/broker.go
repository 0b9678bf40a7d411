package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/broker"
	"github.com/hubpipe/hubpipe/daemon/access"
	"github.com/hubpipe/hubpipe/daemon/config"
)

func (c *command) broker() *cobra.Command {
	cmd := &cobra.Command{Use: "broker", Short: "What a broker of others needs to know",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(c.brokerACL())
	return cmd
}

func (c *command) brokerACL() *cobra.Command {
	kind := "mosquitto"
	named := map[broker.Role]*[]string{broker.RoleWorker: {}, broker.RoleControl: {}, broker.RoleReader: {}}
	cmd := &cobra.Command{Use: "acl", Short: "Print the access rules for an external broker, mosquitto or EMQX",
		Long: `Print the access rules for an external broker: as acl_file of mosquitto, or with
--for emqx as acl.conf of EMQX.

The users are the daemon's (broker { username }), those of the configuration's
user blocks and of ` + "`hubpipe token create`" + `, by their names and roles, and those that
are named here. Their passwords are that broker's own.`,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := c.load()
			if err != nil {
				return err
			}
			users, err := busUsers(cfg)
			if err != nil {
				return err
			}
			for role, names := range named {
				for _, name := range *names {
					if !access.ValidName(name) {
						return usageError("--%s %q has to be 1 to 64 of a-z, 0-9, _ and -, and not begin with %s", role, name, access.Owner)
					}
					users = append(users, broker.Identity{Role: role, Name: name})
				}
			}
			users, err = once(users)
			if err != nil {
				return err
			}
			rules := broker.ACL
			switch kind {
			case "mosquitto":
			case "emqx":
				rules = broker.EMQX
			default:
				return usageError("--for %q: there are mosquitto and emqx", kind)
			}
			_, err = fmt.Fprint(c.env.Stdout, rules(cfg.Broker.Prefix, users))
			return err
		}}
	cmd.Flags().StringVar(&kind, "for", kind, "the broker: mosquitto or emqx")
	for role, names := range named {
		cmd.Flags().StringSliceVar(names, role.String(), nil, "further users of the role "+role.String())
	}
	return cmd
}

// busUsers are those that the configuration and the data folder name.
func busUsers(cfg *config.Config) ([]broker.Identity, error) {
	roles := map[access.Role]broker.Role{access.RoleWorker: broker.RoleWorker, access.RoleControl: broker.RoleControl, access.RoleReader: broker.RoleReader}
	users := []broker.Identity{{Role: broker.RoleDaemon, Name: cmp.Or(cfg.Broker.Username, access.Owner)}}
	for _, u := range cfg.Users {
		users = append(users, broker.Identity{Role: roles[access.Role(u.Role)], Name: u.Name})
	}
	tokens, err := access.List(cfg.DataDir)
	for _, t := range tokens {
		users = append(users, broker.Identity{Role: roles[t.Role], Name: t.Name})
	}
	return users, err
}

// once leaves out who is named again. One name with two roles would have the
// rights of both on that broker, which nobody meant.
func once(users []broker.Identity) ([]broker.Identity, error) {
	seen := map[string]broker.Role{}
	var out []broker.Identity
	for _, u := range users {
		role, again := seen[u.Name]
		switch {
		case !again:
			seen[u.Name] = u.Role
			out = append(out, u)
		case role != u.Role:
			return nil, fmt.Errorf("user %s is %s and %s: a broker tells users by their names alone, so give one of them another", u.Name, role, u.Role)
		}
	}
	return out, nil
}
