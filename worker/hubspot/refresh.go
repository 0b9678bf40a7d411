package hubspot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hubpipe/hubpipe/internal/durable"
)

// refreshFile is what is kept of a portal's refresh token. Configured names the
// configured one that it followed from: another one in the configuration means
// that a person has changed it, and that what is kept is of no use.
type refreshFile struct {
	Configured   string `json:"configured"`
	RefreshToken string `json:"refresh_token"`
}

// maxRefreshFile bounds what is read of the file.
const maxRefreshFile = 1 << 16

// fingerprint names the app and a refresh token without showing either.
func (r *renewer) fingerprint(configured string) string {
	sum := sha256.Sum256([]byte("hubpipe refresh token\n" + r.o.ClientID + "\n" + configured))
	return hex.EncodeToString(sum[:])
}

// loadRefresh returns the kept refresh token, "" where there is none that
// follows from the configured one.
func loadRefresh(path, configured string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the kept refresh token: %w", err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, maxRefreshFile))
	if err != nil {
		return "", fmt.Errorf("read the kept refresh token: %w", err)
	}
	var kept refreshFile
	if json.Unmarshal(raw, &kept) != nil {
		// The decoder's words could show what is in it.
		return "", fmt.Errorf("the kept refresh token in %s does not decode", path)
	}
	if kept.Configured != configured {
		return "", nil
	}
	return kept.RefreshToken, nil
}

// storeRefresh replaces the kept refresh token, whole or not at all.
func storeRefresh(path, configured, refresh string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of refresh tokens: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder needs its x
		return fmt.Errorf("close the folder of refresh tokens to others: %w", err)
	}
	raw, err := json.Marshal(refreshFile{Configured: configured, RefreshToken: refresh})
	if err != nil {
		return fmt.Errorf("encode the refresh token: %w", err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the folder of refresh tokens: %w", err)
	}
	defer func() { _ = folder.Close() }() // and with it the lock
	// A process that has lost the portal may not know it yet.
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the folder of refresh tokens: %w", err)
	}
	if err := durable.Replace(path, raw); err != nil {
		return fmt.Errorf("write the refresh token: %w", err)
	}
	return nil
}
