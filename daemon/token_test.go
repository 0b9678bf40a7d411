package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadToken(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := LoadToken(dir, false); err == nil || !strings.Contains(err.Error(), "first start") {
		t.Errorf("without a token: %v", err)
	}
	made, err := LoadToken(dir, true)
	if err != nil || len(made) != 64 {
		t.Fatalf("%d letters, %v", len(made), err)
	}
	path := filepath.Join(dir, "token")
	mode := func(path string) os.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if mode(path) != 0o600 || mode(dir) != 0o700 {
		t.Errorf("modes %v and %v", mode(path), mode(dir))
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, create := range []bool{false, true} {
		if again, err := LoadToken(dir, create); err != nil || again != made {
			t.Errorf("read again: %v", err)
		}
	}
	if mode(path) != 0o600 {
		t.Errorf("a start leaves the token to others: %v", mode(path))
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadToken(dir, true); err == nil || !strings.Contains(err.Error(), "too short") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a token that is too short: %v", err)
	}
}
