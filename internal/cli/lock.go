package cli

import (
	"os"
	"syscall"
)

// lockFile takes an exclusive lock for as long as the file is open.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
