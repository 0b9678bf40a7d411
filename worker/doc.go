// Package worker fetches from HubSpot on the daemon's order and sends what it
// read as pages. Core is the protocol of one worker process as a state machine
// without goroutines, clock or network; Worker drives it with real ones.
package worker
