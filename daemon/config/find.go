package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"

	"github.com/hubpipe/hubpipe/internal/listen"
)

// FileName is the name of the configuration file in each folder looked in.
const FileName = "hubpipe.hcl"

func (o Options) withDefaults() Options {
	if o.Env == nil {
		o.Env = func(string) (string, bool) { return "", false }
	}
	// The variables are asked for here first, since the library reads those of
	// the process, once.
	folder := func(variable, fallback string) string {
		if dir, ok := o.Env(variable); ok && filepath.IsAbs(dir) {
			return dir
		}
		return fallback
	}
	if o.UserDir == "" {
		o.UserDir = filepath.Join(folder("XDG_CONFIG_HOME", xdg.ConfigHome), "hubpipe")
	}
	if o.SystemDir == "" {
		o.SystemDir = "/etc/hubpipe"
	}
	if o.DataHome == "" {
		o.DataHome = folder("XDG_DATA_HOME", xdg.DataHome)
	}
	return o
}

// find returns the path of the file to read, "" where there is none in the
// usual places. A file that is named, or that is there and cannot be looked
// at, is never passed over.
func (o Options) find() (string, error) {
	if o.Path != "" {
		return o.Path, nil
	}
	for _, path := range o.places() {
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			return path, nil
		case err == nil || errors.Is(err, fs.ErrNotExist):
		default:
			return "", fmt.Errorf("read configuration %s: %s", path, plainReason(err))
		}
	}
	return "", nil
}

func (o Options) places() []string {
	return []string{filepath.Join(o.WorkDir, FileName), filepath.Join(o.UserDir, FileName),
		filepath.Join(o.SystemDir, FileName)}
}

func (o Options) notFound() error {
	return fmt.Errorf("%w: there is no %s, and variable %s is not set; set it, or write one of these files",
		ErrNotFound, strings.Join(o.places(), ", no "), TokenVariable)
}

func (o Options) defaultDataDir() (string, error) {
	return checkDataDir(filepath.Join(o.DataHome, "hubpipe"))
}

// checkDataDir makes a folder's path absolute and refuses one in which no
// socket fits.
func checkDataDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data_dir %s: %w", dir, err)
	}
	if len(abs) > listen.MaxFolder {
		return "", fmt.Errorf("data_dir %s is too long: the path of a unix socket in it has no room above %d bytes, "+
			"and this one has %d; choose a shorter one", abs, listen.MaxFolder, len(abs))
	}
	return abs, nil
}
