package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Bounds of what a hash may cost: below, a stolen one is soon guessed; above,
// each login holds a processor for seconds.
const (
	minCost = bcrypt.DefaultCost
	maxCost = 14
	newCost = 12
)

// minPassword is the shortest password that is hashed.
const minPassword = 12

// maxPassword is what bcrypt reads of a password; it would take the rest for
// nothing.
const maxPassword = 72

// HashPassword makes the hash of a password for the configuration.
func HashPassword(password string) (string, error) {
	switch {
	case len(password) < minPassword:
		return "", fmt.Errorf("a password has at least %d characters; better, let `hubpipe token create` make a token", minPassword)
	case len(password) > maxPassword:
		return "", fmt.Errorf("a password has at most %d bytes", maxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), newCost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(hash), nil
}

// CheckHash says what is wrong with a password's hash.
func CheckHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || len(hash) != 60:
		return errors.New("it is no hash of bcrypt; `hubpipe token hash` makes one")
	case cost < minCost || cost > maxCost:
		return fmt.Errorf("its cost is %d; hubpipe takes %d to %d", cost, minCost, maxCost)
	}
	return nil
}

// comparePatience is how long a login waits for others that are compared.
const comparePatience = 5 * time.Second

// proves holds a password against a user's hash, which is slow on purpose. One
// is compared at a time: strangers cannot take all processors with wrong ones.
// Whoever was right before does not queue. A name that there is not costs
// nothing, and is told from another by that: names are no secret here.
func (k *Keys) proves(u User, password string) bool {
	if len(password) > maxPassword {
		return false
	}
	digest := sha256.Sum256([]byte(password))
	k.mu.Lock()
	p, known := k.proved[u.Name]
	k.mu.Unlock()
	if known && p.hash == u.PasswordHash && subtle.ConstantTimeCompare(p.digest[:], digest[:]) == 1 {
		return true
	}
	patience := time.NewTimer(comparePatience)
	defer patience.Stop()
	select {
	case k.slow <- struct{}{}:
	case <-patience.C:
		return false
	}
	defer func() { <-k.slow }()
	if bcrypt.CompareHashAndPassword([]byte(u.PasswordHash), []byte(password)) != nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proved[u.Name] = proof{u.PasswordHash, digest}
	return true
}
