package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// content is what a file holds, and whether there is one.
func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "none"
	case err != nil:
		t.Fatal(err)
	}
	return string(b)
}

// The content is on the disk before it bears the name, and the name is when
// Replace returns.
func TestReplaceSyncsInOrder(t *testing.T) {
	t.Parallel()
	for _, was := range []string{"none", "old"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if was != "none" {
			if err := os.WriteFile(path, []byte(was), 0o644); err != nil { //nolint:gosec // it is to be closed to others
				t.Fatal(err)
			}
		}
		var got []string
		err := replace(path, []byte("new"), func(f *os.File) error {
			got = append(got, fmt.Sprintf("%s while %s", filepath.Base(f.Name()), content(t, path)))
			return f.Sync()
		})
		want := []string{"file.new while " + was, filepath.Base(dir) + " while new"}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("synced %q, want %q: %v", got, want, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
		if s := content(t, path+".new"); s != "none" {
			t.Errorf("beside it is left: %s", s)
		}
	}
}

// What cannot be written leaves what was there, and nothing beside it.
func TestReplaceLeavesTheOldOne(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := Replace(path, []byte("old")); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left")
	if err := replace(path, []byte("new"), func(*os.File) error { return full }); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if s, beside := content(t, path), content(t, path+".new"); s != "old" || beside != "none" {
		t.Errorf("it is %q, beside it %q", s, beside)
	}
	// What a crash left beside it is overwritten.
	if err := os.WriteFile(path+".new", []byte("half of something longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("new")); err != nil || content(t, path) != "new" {
		t.Errorf("%v, it is %q", err, content(t, path))
	}
	if err := Replace(filepath.Join(path, "below"), nil); err == nil {
		t.Error("a file has something below it")
	}
	if err := SyncFolder(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there is synced")
	}
}
