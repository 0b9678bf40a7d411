package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hubpipe/hubpipe/daemon"
	"github.com/hubpipe/hubpipe/daemon/api/client"
)

// The doctor says who may read what he should not, and takes that away.
func TestDoctorOfAFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	config := filepath.Join(t.TempDir(), "hubpipe.hcl")
	if err := os.WriteFile(config, []byte("data_dir = \""+dir+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := try(t, nil, "doctor", "--config", config); o.code != ExitOK || !strings.Contains(o.out, "nothing is wrong") {
		t.Fatalf("of no folder: exit %d %s %s", o.code, o.out, o.errors)
	}
	if _, err := daemon.LoadToken(dir, true); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(dir, "token")
	if err := os.Chmod(token, 0o644); err != nil { //nolint:gosec // what is to be found
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		code   int
		mended bool
	}{{nil, ExitFailure, false}, {[]string{"--repair"}, ExitOK, true}} {
		o := try(t, nil, append([]string{"doctor", "--output", "json", "--config", config}, c.args...)...)
		var d client.Diagnosis
		if err := json.Unmarshal([]byte(o.out), &d); err != nil || o.code != c.code || len(d.Findings) != 1 || d.Findings[0].Mended != c.mended ||
			!strings.Contains(d.Findings[0].What, token) {
			t.Fatalf("%v: exit %d, %v: %s %s", c.args, o.code, err, o.out, o.errors)
		}
	}
	if o := try(t, nil, "doctor", "--config", config); o.code != ExitOK {
		t.Fatalf("of what was mended: exit %d %s", o.code, o.out)
	}
	if o := try(t, nil, "doctor", "--repair", "--addr", "http://127.0.0.1:9"); o.code != ExitUsage {
		t.Fatalf("elsewhere: exit %d %s", o.code, o.errors)
	}
}
