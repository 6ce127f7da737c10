//go:build !linux

package main

import (
	"context"
	"os"

	"github.com/peerd/peerd/punch/natlab"
)

func sshdCommand(ctx context.Context, h *natlab.Host, program string, args ...string) *natlab.Cmd {
	return h.Command(ctx, program, args...) // which fails
}

func outerUID() int { return os.Getuid() }
