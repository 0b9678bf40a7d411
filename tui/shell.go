package tui

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// hasShell tells whether a shell with job control waits for this process: where
// none does, a process that stops is not woken again.
func hasShell() bool {
	parent := syscall.Getppid()
	group, err := syscall.Getpgid(parent)
	if err != nil || group == syscall.Getpgrp() {
		return false
	}
	own, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	theirs, err := unix.Getsid(parent)
	return err == nil && own == theirs
}
