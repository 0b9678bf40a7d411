package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon/access"
)

// A token is printed once, and nowhere else; the verbs need no daemon.
func TestTokenVerbs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	file := configFile(t, fmt.Sprintf("data_dir = %q\nportal \"main\" { token = \"x\" }\nstream \"contacts\" {}\n", dir))
	do := func(args ...string) outcome { return try(t, nil, append(args, "--config", file)...) }
	made := do("token", "create", "--role", "worker", "--name", "w1")
	secret := strings.TrimSpace(made.out)
	if made.code != ExitOK || len(secret) < 64 || strings.Contains(made.out, " ") || strings.Contains(made.errors, secret) {
		t.Fatalf("%+v", made)
	}
	if again := do("token", "create", "--role", "worker", "--name", "w1"); again.code != ExitFailure || again.out != "" || !strings.Contains(again.errors, "--replace") {
		t.Errorf("twice: %+v", again)
	}
	if other := do("token", "create", "--role", "reader", "--name", "w1", "--replace"); other.code != ExitOK || strings.TrimSpace(other.out) == secret {
		t.Errorf("another: %+v", other)
	}
	for _, args := range [][]string{{"token", "list"}, {"token", "list", "-o", "json"}} {
		if list := do(args...); list.code != ExitOK || !strings.Contains(list.out, "w1") || !strings.Contains(list.out, "reader") || strings.Contains(list.out, "hubpipe_") {
			t.Errorf("%q: %+v", args, list)
		}
	}
	if acl := do("broker", "acl", "--worker", "w7"); acl.code != ExitOK || !strings.Contains(acl.out, "# reader\nuser w1\n") || !strings.Contains(acl.out, "# worker\nuser w7\n") {
		t.Errorf("the rules: %+v", acl)
	}
	if both := do("broker", "acl", "--worker", "w1"); both.code != ExitFailure || !strings.Contains(both.errors, "w1 is reader and worker") {
		t.Errorf("one name with two roles: %+v", both)
	}
	if gone := do("token", "revoke", "w1"); gone.code != ExitOK || gone.out != "" {
		t.Errorf("revoke: %+v", gone)
	}
	if gone := do("token", "revoke", "w1"); gone.code != ExitFailure || !strings.Contains(gone.errors, "no token of that name: w1") {
		t.Errorf("revoke of none: %+v", gone)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", info, err)
	}
}

func TestTokenHash(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{"a password that is long": true, "short": false, "": false} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), Env{Args: []string{"token", "hash"}, Stdin: strings.NewReader(password + "\n"), Stdout: &out, Stderr: &errs,
			Getenv: func(string) (string, bool) { return "", false }})
		if (code == ExitOK) != good || good && access.CheckHash(strings.TrimSpace(out.String())) != nil || password != "" && strings.Contains(errs.String(), password) {
			t.Errorf("%q: exit %d\n%s%s", password, code, out.String(), errs.String())
		}
	}
}
