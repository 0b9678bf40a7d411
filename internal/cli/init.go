package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hubpipe/hubpipe/daemon/config"
	"github.com/hubpipe/hubpipe/worker/hubspot"
)

// How long init asks: for the account, which a person waits for, and for all
// else.
const (
	firstAnswer = 20 * time.Second
	initTime    = 5 * time.Minute
)

// tokenTries is how often a person may type a token.
const tokenTries = 3

// beginning is what init was told.
type beginning struct {
	variable string // that holds the token
	baseURL  string
	path     string
	force    bool
	yes      bool
}

// portal is the block of the account.
func (b beginning) portal() string {
	text := fmt.Sprintf("portal \"main\" {\n  token = env(%q)\n}\n", b.variable)
	if b.baseURL != config.DefaultBaseURL {
		text = fmt.Sprintf("portal \"main\" {\n  token    = env(%q)\n  base_url = %q\n}\n", b.variable, b.baseURL)
	}
	return text
}

// initVerb writes a first configuration, from what a token may read.
func (c *command) initVerb() *cobra.Command {
	var b beginning
	cmd := &cobra.Command{Use: "init", Short: "Try a HubSpot token, see what it may read at which cost, and write hubpipe.hcl",
		Long: `Try a HubSpot token, see what it may read and what that costs, and write
hubpipe.hcl.

The token is taken from HUBSPOT_TOKEN (or from what --token-env names); where that
is not set and this is a terminal, it is asked for and not shown. It never stands in
the file, which names the variable. Streams whose scope the token lacks stand in the
file as comments, with the scope, and so do those that are heavy.

Off a terminal, and with --yes, nothing is asked. A file that is there stays, unless
--force is given.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("file") && c.config != "" {
				return usageError("--config and --file are the same: name the file once")
			}
			if c.config != "" {
				b.path = c.config
			}
			if !validVariable(b.variable) {
				return usageError("--token-env is the name of a variable such as HUBSPOT_TOKEN")
			}
			return c.begin(cmd.Context(), b)
		}}
	f := cmd.Flags()
	f.StringVarP(&b.path, "file", "o", config.FileName, "the file to write, as --config; - is stdout")
	f.StringVar(&b.variable, "token-env", config.TokenVariable, "the variable that holds the token, which the file will name")
	f.StringVar(&b.baseURL, "base-url", config.DefaultBaseURL, "where HubSpot is, such as that of 'hubpipe simulator'")
	f.BoolVar(&b.force, "force", false, "overwrite the file if it is there")
	f.BoolVar(&b.yes, "yes", false, "ask nothing")
	return cmd
}

// validVariable tells whether a shell can set a variable of that name. Most
// tokens are none.
func validVariable(name string) bool {
	return strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == "" && strings.Trim(name[:1], "0123456789") != ""
}

func (c *command) begin(ctx context.Context, b beginning) error {
	if _, err := os.Lstat(b.path); b.path != standard && !b.force && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("look for %s: %w", b.path, err)
		}
		return fmt.Errorf("%s is there already\n  hint: name another file with -o, or overwrite it with --force", b.path)
	}
	// The token is sent to no address that a configuration may not have.
	if _, err := c.tried(b, "none", b.portal()+"stream \"contacts\" {}\n"); err != nil {
		return err
	}
	talks := !b.yes && isTerminal(c.env.Stderr) && c.keyboard() != nil
	account, client, token, err := c.firstContact(ctx, b, talks)
	if err != nil {
		return err
	}
	defer client.Close()
	out := c.env.Stdout
	if b.path == standard {
		out = c.env.Stderr
	}
	fmt.Fprintf(out, "HubSpot takes the token: account %d, %s\n", account.PortalID, clean(account.TimeZone))
	bound, cancel := context.WithTimeout(ctx, initTime)
	defer cancel()
	found, err := c.explore(bound, client, b)
	if err != nil {
		return err
	}
	text := proposal(b, account, found)
	cfg, err := c.tried(b, token, text)
	if err != nil {
		return err
	}
	cost := estimatePortal(bound, client, cfg.Portals[0], cfg.Streams, found.size)
	if err := errors.Join(found.show(out), estimateTable(out, []portalCost{cost}, false)); err != nil {
		return err
	}
	if cost.Error != "" {
		return errReported
	}
	if b.path == standard {
		_, err := io.WriteString(c.env.Stdout, text)
		return err
	}
	if talks {
		yes, err := c.confirms(ctx, fmt.Sprintf("\nwrite %s with %s? [Y/n] ", b.path, count(len(cfg.Streams), "stream")))
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("%s was not written", b.path)
		}
	}
	if err := putFile(b.path, text, b.force); err != nil {
		return err
	}
	c.next(b, token)
	return nil
}

// next says what to do now.
func (c *command) next(b beginning, token string) {
	named := ""
	if b.path != config.FileName {
		named = " --config " + b.path
	}
	fmt.Fprintf(c.env.Stderr, "\n%s is written. Next:\n", b.path)
	if set, _ := c.env.Getenv(b.variable); set != token {
		fmt.Fprintf(c.env.Stderr, "  export %s=…    what you typed: it stands in no file\n", b.variable)
	}
	fmt.Fprintf(c.env.Stderr, "  hubpipe up%s\n  hubpipe tui%s    from another terminal: the dashboard\n", named, named)
}

// firstContact finds a token that HubSpot takes: that of the environment, or one
// that is typed.
func (c *command) firstContact(ctx context.Context, b beginning, talks bool) (hubspot.Account, *hubspot.Client, string, error) {
	none := hubspot.Account{}
	token, _ := c.env.Getenv(b.variable)
	typed := token == ""
	if typed && !talks {
		return none, nil, "", configErrorf("variable %s is not set\n  hint: set it to the token of a private app or a service key of HubSpot", b.variable)
	}
	if typed {
		fmt.Fprintf(c.env.Stderr, "%s is not set. What is the token of your private app or service key?\nIt is not shown, and stands in no file.\n", b.variable)
	}
	for try := 1; ; try++ {
		if typed {
			var err error
			if token, err = c.hidden(ctx, "token: "); err != nil {
				return none, nil, "", err
			}
			token = strings.TrimSpace(token)
		}
		account, client, err := c.contact(ctx, b, token)
		if err == nil {
			return account, client, token, nil
		}
		blocked, ok := errors.AsType[*hubspot.Blocked](err)
		switch {
		case !ok || blocked.Type != "token":
			return none, nil, "", err
		case typed && try < tokenTries:
			fmt.Fprintln(c.env.Stderr, clean(blocked.Detail))
		case typed:
			return none, nil, "", configErrorf("%s\n  hint: copy it from HubSpot again, or make a new one", clean(blocked.Detail))
		default:
			return none, nil, "", configErrorf("%s\n  hint: copy it from HubSpot again, or make a new one, and set %s to it", clean(blocked.Detail), b.variable)
		}
	}
}

// contact asks whose account a token reads.
func (c *command) contact(ctx context.Context, b beginning, token string) (hubspot.Account, *hubspot.Client, error) {
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return hubspot.Account{}, nil, &hubspot.Blocked{Type: "token", Detail: "that is no token of HubSpot: they are letters, digits and dashes"}
	}
	log, err := c.logger("error")
	if err != nil {
		return hubspot.Account{}, nil, err
	}
	client := hubspot.New(hubspot.Options{BaseURL: b.baseURL, Token: func() string { return token }, Logger: log.Named("hubspot")})
	client.Impatient()
	bound, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	account, err := client.Account(bound)
	if err == nil {
		return account, client, nil
	}
	client.Close()
	switch {
	case ctx.Err() != nil:
		return account, nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		_, why, ok := strings.Cut(err.Error(), "after: ")
		if !ok {
			why = "there is no answer within " + config.FormatDuration(firstAnswer)
		}
		return account, nil, fmt.Errorf("HubSpot cannot be read at %s: %s\n  hint: look at the network of this machine, and at --base-url", b.baseURL, clean(why))
	}
	return account, nil, fmt.Errorf("HubSpot cannot be read at %s: %w", b.baseURL, err)
}

// tried loads the text as `check` will, so that nothing is written that is wrong
// by itself or beside what is there (conf.d).
func (c *command) tried(b beginning, token, text string) (*config.Config, error) {
	dir := filepath.Dir(b.path)
	if b.path == standard {
		dir = os.TempDir()
	}
	path, err := scratch(dir, text)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(path) }() // its name says what it is
	o := c.options()
	o.Path = path
	o.Env = func(name string) (string, bool) {
		if name == b.variable {
			return token, true
		}
		return c.env.Getenv(name)
	}
	cfg, diags, err := config.Load(o)
	if len(diags) > 0 {
		fmt.Fprintln(c.env.Stderr, strings.ReplaceAll(strings.TrimSpace(diags.String()), path, b.path))
	}
	if invalid := (*config.InvalidError)(nil); errors.As(err, &invalid) {
		return nil, configErrorf("such a configuration would have these mistakes: nothing is written")
	}
	if err != nil {
		return nil, configError(err)
	}
	return cfg, nil
}

// scratch writes a file beside the one to come.
func scratch(dir, text string) (string, error) {
	f, err := os.CreateTemp(dir, ".hubpipe-init-*.hcl")
	if err != nil {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("write the configuration: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// putFile writes the whole file or nothing. Without force one that has come
// meanwhile stays.
func putFile(path, text string, force bool) error {
	tmp, err := scratch(filepath.Dir(path), text)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }() // or it bears the other name
	put := os.Link
	if force {
		put = os.Rename
	}
	if err := put(tmp, path); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return nil
}
