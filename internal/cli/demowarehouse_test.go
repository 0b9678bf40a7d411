package cli

import (
	"strings"
	"testing"
)

// The address of a demo's database, and its password, may come from the
// environment; one on the command line, where others see it, works and is named.
func TestPasswordOfTheDemosWarehouse(t *testing.T) {
	t.Parallel()
	const nobody = "postgres://me:canary@127.0.0.1:1/x"
	vars := map[string]string{"DW": nobody}
	for said, want := range map[string]struct {
		code  int
		says  string
		warns bool
	}{
		"env:DW":   {ExitFailure, "127.0.0.1:1", false},
		"env:NONE": {ExitUsage, "the variable NONE is not set", false},
		nobody:     {ExitFailure, "127.0.0.1:1", true},
		"host=127.0.0.1 port=1 user=me password=canary":    {ExitFailure, "127.0.0.1:1", true},
		"postgres://127.0.0.1:1/x?user=me&password=canary": {ExitFailure, "127.0.0.1:1", true},
		"postgres://me@127.0.0.1:1/x":                      {ExitFailure, "127.0.0.1:1", false},
	} {
		got := try(t, vars, "demo", "--once", "--postgres", said)
		if got.code != want.code || !strings.Contains(got.errors, want.says) || strings.Contains(got.out+got.errors, "canary") {
			t.Errorf("%s: %d %s%s", said, got.code, got.out, got.errors)
		}
		if warns := strings.Contains(got.errors, "list of processes") && strings.Contains(got.errors, "env:WAREHOUSE_URL"); warns != want.warns {
			t.Errorf("%s: %s", said, got.errors)
		}
	}
}
