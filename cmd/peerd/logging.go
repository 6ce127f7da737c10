package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
)

// silent is the level from which on nothing is logged.
const silent = slog.Level(math.MaxInt32)

func (p *program) checkLogFlags() error {
	if p.verbose && p.quiet {
		return errors.New("-v and -q exclude each other")
	}
	if _, err := p.level(silent); err != nil {
		return err
	}
	if p.logFormat != "text" && p.logFormat != "json" {
		return fmt.Errorf("%s is text or json, not %q", p.settings.origin("log-format"), p.logFormat)
	}
	return nil
}

// level returns the level from which on is logged, for a command that has its
// own idea of it unless it is told otherwise.
func (p *program) level(byDefault slog.Level) (slog.Level, error) {
	switch p.logLevel {
	case "":
	case "debug", "info", "warn", "error":
		var l slog.Level
		return l, l.UnmarshalText([]byte(p.logLevel))
	default:
		return 0, fmt.Errorf("%s is debug, info, warn or error, not %q", p.settings.origin("log-level"), p.logLevel)
	}
	switch {
	case p.verbose:
		return slog.LevelDebug, nil
	case p.quiet:
		return silent, nil
	}
	return byDefault, nil
}

// logger returns the log on standard error.
func (p *program) logger(byDefault slog.Level) *slog.Logger {
	level, _ := p.level(byDefault) // checked before
	options := &slog.HandlerOptions{Level: level}
	if p.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.screen, options))
	}
	return slog.New(slog.NewTextHandler(p.screen, options))
}

// logAsked reports whether the user said anything about logging.
func (p *program) logAsked() bool {
	return p.verbose || p.quiet || p.logLevel != "" || p.logFormat != "text"
}
