package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Each verb has a man page, which knows its flags; nothing else has one.
func TestManPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "man1")
	if got := try(t, nil, "man", "--dir", dir); got.code != ExitOK || got.out != "" {
		t.Fatalf("exit %d %s%s", got.code, got.out, got.errors)
	}
	want := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(v *cobra.Command) {
		if v.Hidden || v.Name() == "help" || v.Name() == "completion" || v.HasParent() && v.Parent().Name() == "completion" {
			return
		}
		name := strings.ReplaceAll(v.CommandPath(), " ", "-") + ".1"
		want[name] = true
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		for _, says := range []string{".SH NAME\n" + strings.TrimSuffix(name, ".1") + ` - `, `\-\-config`} {
			if !strings.Contains(strings.ReplaceAll(string(b), "--config", `\-\-config`), says) {
				t.Errorf("%s lacks %q", name, says)
			}
		}
		for _, sub := range v.Commands() {
			walk(sub)
		}
	}
	walk((&command{env: Env{}}).root())
	for _, name := range []string{"hubpipe.1", "hubpipe-init.1", "hubpipe-token-create.1", "hubpipe-doctor-hubspot.1", "hubpipe-man.1"} {
		if !want[name] {
			t.Errorf("no verb has %s", name)
		}
	}
	pages, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if !want[p.Name()] && !strings.HasPrefix(p.Name(), "hubpipe-completion") {
			t.Errorf("%s is of no verb", p.Name())
		}
	}
	if got := try(t, nil, "man"); got.code != ExitUsage || !strings.Contains(got.errors, "needs --dir") {
		t.Errorf("exit %d %s", got.code, got.errors)
	}
}
