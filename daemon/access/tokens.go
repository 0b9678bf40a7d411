package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hubpipe/hubpipe/internal/durable"
)

// ErrExists is returned by Create for a name that has a token already.
var ErrExists = errors.New("there is a token of that name already")

// ErrUnknown is returned by Revoke for a name without a token.
var ErrUnknown = errors.New("there is no token of that name")

// Token is what is kept of a token: everything but itself.
type Token struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	// Digest is SHA-256 of the token, in hex. A token is 256 random bits, so that
	// there is nothing to guess and a slow hash would protect nothing more.
	Digest string `json:"digest"`
}

// tokensFile is where tokens are kept in the data folder.
const tokensFile = "tokens.json"

// mark begins each token, for people and for scanners that look for secrets.
const mark = "hubpipe_"

// maxTokens and maxTokensFile bound the file.
const (
	maxTokens     = 10_000
	maxTokensFile = 4 << 20
)

// Create makes a token and returns it; it is kept nowhere, only its digest is.
// With replace the one of that name is revoked in the same step. A running
// daemon needs no restart.
func Create(dir, name string, role Role, replace bool) (secret string, err error) {
	switch {
	case !ValidName(name):
		return "", fmt.Errorf("%q cannot be the name of a token: it has to be 1 to 64 of a-z, 0-9, _ and -, and not begin with %s", name, Owner)
	case !ValidRole(role):
		return "", fmt.Errorf("there is no role %q", role)
	}
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	secret = mark + hex.EncodeToString(raw[:])
	digest := sha256.Sum256([]byte(secret))
	err = change(dir, func(all []Token) ([]Token, error) {
		if i := slices.IndexFunc(all, func(t Token) bool { return t.Name == name }); i >= 0 {
			if !replace {
				return nil, fmt.Errorf("%w: %s", ErrExists, name)
			}
			all = slices.Delete(all, i, i+1)
		}
		if len(all) >= maxTokens {
			return nil, fmt.Errorf("there are %d tokens; revoke some", len(all))
		}
		return append(all, Token{Name: name, Role: role, Created: time.Now().UTC().Truncate(time.Second), Digest: hex.EncodeToString(digest[:])}), nil
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// Revoke takes a token away. Whoever is connected with it is cut off within
// seconds.
func Revoke(dir, name string) error {
	return change(dir, func(all []Token) ([]Token, error) {
		i := slices.IndexFunc(all, func(t Token) bool { return t.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
		}
		return slices.Delete(all, i, i+1), nil
	})
}

// List returns the tokens of a data folder, by name.
func List(dir string) ([]Token, error) {
	all, err := readTokens(dir)
	slices.SortFunc(all, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
	return all, err
}

// change rewrites the file as a whole, one process at a time.
func change(dir string, f func([]Token) ([]Token, error)) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	defer func() { _ = folder.Close() }() // and with it the lock
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	all, err := readTokens(dir)
	if err != nil {
		return err
	}
	if all, err = f(all); err != nil {
		return err
	}
	b, err := json.MarshalIndent(struct {
		Tokens []Token `json:"tokens"`
	}{all}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the tokens: %w", err)
	}
	if err := durable.Replace(filepath.Join(dir, tokensFile), append(b, '\n')); err != nil {
		return fmt.Errorf("write the tokens: %w", err)
	}
	return nil
}

// readTokens reads the file; there are none where it is missing.
func readTokens(dir string) ([]Token, error) {
	path := filepath.Join(dir, tokensFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxTokensFile))
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	all, err := parseTokens(b)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; put it back from a backup, or move it away and make the tokens anew", path, err)
	}
	return all, nil
}

// parseTokens takes all of a file or nothing: half of it would be a token that
// was revoked, or one that is missing, without a word.
func parseTokens(b []byte) ([]Token, error) {
	var file struct {
		Tokens []Token `json:"tokens"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	names := map[string]bool{}
	for i, t := range file.Tokens {
		if !ValidName(t.Name) || !ValidRole(t.Role) || names[t.Name] {
			return nil, fmt.Errorf("entry %d has no right name or role, or is there twice", i+1)
		}
		if d, err := hex.DecodeString(t.Digest); err != nil || len(d) != sha256.Size {
			return nil, fmt.Errorf("entry %d has no digest", i+1)
		}
		names[t.Name] = true
	}
	return file.Tokens, nil
}

// stamp tells one state of the file from another without reading it.
type stamp struct {
	size, mod int64
	inode     uint64
}

func stampOf(dir string) stamp {
	info, err := os.Stat(filepath.Join(dir, tokensFile))
	if err != nil {
		return stamp{}
	}
	s := stamp{size: info.Size(), mod: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// refresh reads the tokens again where the file has changed; k.mu is held. What
// cannot be read lets nobody in.
func (k *Keys) refresh() {
	now := stampOf(k.dir)
	if k.tokens != nil && now == k.stamp {
		return
	}
	all, err := readTokens(k.dir)
	k.stamp, k.broken, k.tokens = now, err, map[[sha256.Size]byte]Token{}
	for _, t := range all {
		var digest [sha256.Size]byte
		if _, err := hex.Decode(digest[:], []byte(t.Digest)); err == nil {
			k.tokens[digest] = t
		}
	}
}
