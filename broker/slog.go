package broker

import (
	"context"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logBridge hands the embedded broker's log lines to hclog. The broker's own
// warnings are about single clients (a bad packet, a lost connection), so they
// are at most debug here; errors are warnings. Packets are left out: they hold
// payloads, and the CONNECT's password.
type logBridge struct {
	log   hclog.Logger
	attrs []any
}

var _ slog.Handler = logBridge{}

// Enabled says whether a line of that level would be written.
func (b logBridge) Enabled(_ context.Context, level slog.Level) bool {
	switch {
	case level >= slog.LevelError:
		return b.log.IsWarn()
	case level >= slog.LevelWarn:
		return b.log.IsDebug()
	default:
		return b.log.IsTrace()
	}
}

// Handle writes one line.
func (b logBridge) Handle(_ context.Context, r slog.Record) error {
	args := append([]any(nil), b.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		args = appendAttr(args, a)
		return true
	})
	msg := r.Message
	if msg == "" {
		msg = "client"
	}
	switch {
	case r.Level >= slog.LevelError:
		b.log.Warn(msg, args...)
	case r.Level >= slog.LevelWarn:
		b.log.Debug(msg, args...)
	default:
		b.log.Trace(msg, args...)
	}
	return nil
}

// WithAttrs adds attributes to all lines that follow.
func (b logBridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	args := append([]any(nil), b.attrs...)
	for _, a := range attrs {
		args = appendAttr(args, a)
	}
	return logBridge{log: b.log, attrs: args}
}

// WithGroup keeps the names flat: the broker uses no groups.
func (b logBridge) WithGroup(string) slog.Handler { return b }

func appendAttr(args []any, a slog.Attr) []any {
	switch v := a.Value.Resolve().Any().(type) {
	case error:
		return append(args, a.Key, v.Error())
	case string, int64, uint64, bool, float64:
		return append(args, a.Key, v)
	default:
		return args
	}
}
