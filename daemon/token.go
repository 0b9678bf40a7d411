package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hubpipe/hubpipe/internal/durable"
)

// LoadToken reads hubpipe's own token from the data folder: 256 bits in a file
// that only its owner reads. With create it is made where there is none, and one
// that others may read, as a copy has it, is taken from them.
func LoadToken(dataDir string, create bool) (string, error) {
	path := filepath.Join(dataDir, "token")
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(strings.TrimSpace(string(b))) >= 32:
		if create {
			err = own(path)
		}
		return strings.TrimSpace(string(b)), err
	case err == nil:
		return "", fmt.Errorf("the token in %s is too short: delete the file, a new one is made at the next start", path)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the token: %w", err)
	case !create:
		return "", fmt.Errorf("there is no token in %s: the daemon makes it at its first start", path)
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return "", fmt.Errorf("make the data folder: %w", err)
	}
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	token := hex.EncodeToString(raw[:])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return LoadToken(dataDir, false) // another process was first
	}
	if err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = durable.SyncFolder(dataDir)
	}
	if err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	return token, nil
}

// own takes a file from everyone but its owner.
func own(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		return fmt.Errorf("others may read the token in %s: %w", path, err)
	}
	return nil
}
