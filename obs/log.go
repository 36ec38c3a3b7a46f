package obs

import (
	"log/slog"
	"os"

	"github.com/mattn/go-isatty"

	"github.com/lakeloader/lakeloader/configs"
)

// NewLogger returns a logger that writes to w, as text when that is a terminal and as JSON otherwise, unless the
// configuration says which. cfg has its defaults.
func NewLogger(cfg configs.Log, w *os.File) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	options := &slog.HandlerOptions{Level: levels[cfg.Level]} // an unknown level is info; validation refuses it
	if cfg.Format == "text" || cfg.Format != "json" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

func isTerminal(f *os.File) bool {
	return isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd())
}
