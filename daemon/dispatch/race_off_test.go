//go:build !race

package dispatch

// raceEnabled says that the race detector looks. It has nothing to find in a
// schedule of a model, which one goroutine plays in virtual time: a few are played
// with it, so that the code is, and all without it, in the ordinary run.
const raceEnabled = false
