package obs

import (
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"

	"github.com/lakeloader/lakeloader/configs"
)

// NewLogger returns a logger that writes to w, as text when that is a terminal and as JSON otherwise, unless the
// configuration says which. cfg has its defaults. What hide knows is not written.
func NewLogger(cfg configs.Log, w *os.File, hide *configs.Redactor) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	options := &slog.HandlerOptions{Level: levels[cfg.Level], ReplaceAttr: readable} // an unknown level is info; validation refuses it
	if cfg.Format == "text" || cfg.Format != "json" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(hide.Writer(w), options)) // handlers write whole lines, one at a time
	}
	return slog.New(slog.NewJSONHandler(hide.Writer(w), options))
}

// readable writes durations as in the configuration: JSON would have nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
}
