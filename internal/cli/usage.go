package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hubpipe/hubpipe/daemon/config"
)

// namedArgs holds what is given against the names in the verb's line of usage:
// each has to be there unless it stands in brackets, and nothing else.
func namedArgs(cmd *cobra.Command, got []string) error {
	names := strings.Fields(cmd.Use)[1:]
	least := 0
	for _, n := range names {
		if !strings.HasPrefix(n, "[") {
			least++
		}
	}
	switch {
	case len(got) < least:
		return usageError("`%s` needs %s\n  usage: %s", cmd.CommandPath(), strings.Join(names[len(got):least], " "), cmd.UseLine())
	case len(got) > len(names):
		return usageError("`%s` does not know what to do with %q\n  usage: %s", cmd.CommandPath(), got[len(names)], cmd.UseLine())
	}
	for i, g := range got {
		if strings.TrimSpace(g) == "" {
			return usageError("%s is empty\n  usage: %s", strings.Trim(names[i], "[]"), cmd.UseLine())
		}
	}
	return nil
}

// flagError says in plain words what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	text := err.Error()
	switch {
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) == 1 && unknown.GetSpecifiedShortnames() != "":
		text = "there is no flag -" + unknown.GetSpecifiedName()
	case errors.As(err, &unknown):
		text = "there is no flag --" + unknown.GetSpecifiedName()
	case errors.As(err, &missing):
		text = "--" + missing.GetFlag().Name + " needs a value"
	case errors.As(err, &bad) && bad.GetFlag().Value.Type() == "app":
		text = "--" + bad.GetFlag().Name + " is an app as client_id:client_secret:refresh_token" // what was given is not repeated
	case errors.As(err, &bad):
		text = "--" + bad.GetFlag().Name + " is " + kindOf(bad) + ", not \"" + bad.GetValue() + `"`
	case errors.As(err, &syntax):
		text = syntax.GetSpecifiedFlag() + " is no flag"
	}
	return usageError("%s\n  usage: %s; see `%s --help`", text, cmd.UseLine(), cmd.CommandPath())
}

// kindOf says what a flag takes, without the words of the library that reads
// it.
func kindOf(bad *pflag.InvalidValueError) string {
	switch bad.GetFlag().Value.Type() {
	case "int", "int64":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	case "duration":
		return "a duration such as 500ms or 2s"
	case "stringToInt":
		return "a list such as products=200,p_cars=50"
	case "stringToString":
		return "a list such as a=1,b=2"
	case "rate":
		return "a number of changes a second such as 2/s"
	}
	return "another kind of value"
}

// noVerb says that there is none of a name, and which was meant.
func noVerb(cmd *cobra.Command, name string) error {
	root := cmd.Root()
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		return usageError("there is no verb %q; did you mean %s?\n  hint: see `hubpipe --help`", name, strings.Join(near, " or "))
	}
	return usageError("there is no verb %q\n  hint: see `hubpipe --help`", name)
}

// help is the verb of that name: as usual, but a topic that there is not is a
// mistake.
func help(root *cobra.Command) *cobra.Command {
	return &cobra.Command{Use: "help [verb]", Short: "Help about any verb", Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			verb, rest, err := root.Find(args)
			if err != nil || verb == nil || len(rest) > 0 {
				return noVerb(root, strings.Join(args, " "))
			}
			verb.InitDefaultHelpFlag()
			verb.InitDefaultVersionFlag()
			return verb.Help()
		}}
}

// completion makes a shell that there is not a mistake: cobra shows help for it,
// and ends as if all were well. It needs the root's output to be set.
func completion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	verb, _, err := root.Find([]string{"completion"})
	if err != nil || verb == root {
		return
	}
	verb.Args = cobra.ArbitraryArgs
	verb.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return usageError("there is no completion for %q; there are bash, fish, powershell and zsh\n  usage: %s SHELL", args[0], cmd.CommandPath())
	}
}

// oneOf holds a flag against the values that there are; with commas, each.
func oneOf(flag, text string, known ...string) error {
	for word := range strings.SplitSeq(text, ",") {
		found := false
		for _, k := range known {
			found = found || word == k
		}
		if !found {
			return usageError("--%s has no value %q; there are %s", flag, word, strings.Join(known, ", "))
		}
	}
	return nil
}

// checkInterval holds what someone typed against what an interval may be, as
// the daemon does.
func checkInterval(text string) error {
	d, err := config.ParseDuration(text)
	if err != nil {
		return usageError("--every: %w", err)
	}
	if d < config.MinInterval {
		return usageError("--every %s is too short; the shortest is %s", text, config.FormatDuration(config.MinInterval))
	}
	return nil
}

// checkSince holds a place in the feed against its two forms.
func checkSince(text string) error {
	if text == "" || strings.Trim(text, "0123456789") == "" && len(text) < 20 {
		return nil
	}
	if _, err := time.Parse(time.RFC3339, text); err == nil {
		return nil
	}
	return usageError("--since is a place in the feed (the seq of a record) or a time such as 2026-01-31T08:00:00Z, not %q", text)
}
