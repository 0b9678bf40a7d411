package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// ListHash names a property list, given sorted: 16 hexadecimal digits. Daemon
// and worker tell by it whether records were read with the same list.
func ListHash(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(names, "\n")))
	return hex.EncodeToString(sum[:8])
}
