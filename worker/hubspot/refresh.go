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
func storeRefresh(path, configured, refresh string) (err error) {
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
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new*") // mode 0600
	if err != nil {
		return fmt.Errorf("make the file of the refresh token: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the refresh token: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("put the refresh token in its place: %w", err)
	}
	if d, derr := os.Open(dir); derr == nil {
		_ = d.Sync() // not every platform can; the file itself is there
		_ = d.Close()
	}
	return nil
}
