package destination

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
)

// What engines have in common that write everything anew beside what is there.

// NewMark is a name for a session, in what it writes: no other has it.
func NewMark() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// Weightier is the reason of a rereading that goes on for one and begins anew for
// another: the one that more depends on.
func Weightier(was, now string) string {
	weight := []string{ReasonSnapshot, ReasonColumns, ReasonErasure, ReasonResync, ReasonEpoch}
	if slices.Index(weight, was) > slices.Index(weight, now) {
		return was
	}
	return now
}
