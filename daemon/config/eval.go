package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// maxText bounds one setting, maxFile one file of the configuration: neither
// is ever near it, and HCL's reader goes as deep as its input does.
const (
	maxText = 64 << 10
	maxFile = 256 << 10
)

// unset marks a value that waits for a variable. It travels through templates
// and conditions, so that the setting that needs it can name it.
type unset string

// functionError is what env or file say themselves; it never holds a value.
type functionError struct{ text string }

func (e *functionError) Error() string { return e.text }

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// evalContext holds the functions of a file in folder dir. They give all that
// they return to outside: values from outside the file are never shown, since
// a secret may land in any setting by mistake.
func evalContext(dir string, env func(string) (string, bool), outside func(string)) *hcl.EvalContext {
	one := func(name string, impl func(string) (cty.Value, error)) function.Function {
		return function.New(&function.Spec{
			Params: []function.Parameter{{Name: name, Type: cty.String}},
			Type:   function.StaticReturnType(cty.String),
			Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return impl(args[0].AsString()) },
		})
	}
	return &hcl.EvalContext{Functions: map[string]function.Function{
		"env": one("name", func(name string) (cty.Value, error) {
			if !variableName.MatchString(name) {
				// The name is not repeated: a token may stand in its place.
				return cty.NilVal, &functionError{"env() takes the name of a variable: letters, digits and _"}
			}
			v, ok := env(name)
			if !ok || v == "" {
				return cty.UnknownVal(cty.String).Mark(unset(name)), nil
			}
			outside(v)
			return cty.StringVal(v), nil
		}),
		"file": one("path", func(path string) (cty.Value, error) {
			if path == "" || strings.ContainsFunc(path, isControl) || len(path) > 4096 {
				return cty.NilVal, &functionError{"file() takes the path of a file"}
			}
			full := path
			if !filepath.IsAbs(full) {
				full = filepath.Join(dir, full)
			}
			text, err := readBounded(full, maxText)
			if err != nil {
				return cty.NilVal, &functionError{"file " + scrub(path) + ": " + plainReason(err)}
			}
			trimmed := strings.TrimSpace(string(text))
			if trimmed == "" {
				return cty.NilVal, &functionError{"file " + scrub(path) + ": it is empty"}
			}
			outside(trimmed)
			return cty.StringVal(trimmed), nil
		}),
	}}
}

var errTooLarge = errors.New("it is too large")

// readBounded reads a regular file, or a pipe, of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, errTooLarge
	}
	return b, nil
}

// plainReason is why a file cannot be read, without its path.
func plainReason(err error) string {
	var p *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "it may not be read by this user"
	case errors.As(err, &p):
		return p.Err.Error()
	}
	return err.Error()
}
