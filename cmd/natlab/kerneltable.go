package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peerd/peerd/punch/reuse/survey"
	"github.com/peerd/peerd/punch/reuse/survey/linuxrules"
)

// tableClaims are about this kernel.
func tableClaims() []claim {
	return []claim{
		{"kernel's table", "what `peerd sockets` sees of every combination of two sockets on this system is what the kernel's rules say, written again from its source, time after time",
			nil, showKernelTable},
	}
}

// showKernelTable tries every combination again and again.
func showKernelTable(ctx context.Context, g ground) (f finding, err error) {
	if err := raiseLoopback(); err != nil {
		return f, err
	}
	h, err := survey.Open()
	if err != nil {
		return f, err
	}
	var failed []error
	cells, runs := 0, figure(g, 3, 100)
	for range runs {
		n, differ, err := linuxrules.Check(ctx, h)
		if err != nil {
			return f, err
		}
		cells += n
		for _, d := range differ {
			failed = append(failed, errors.New(d.String()))
		}
	}
	f.Text = fmt.Sprintf("%d of %d cells differ, in %d runs of %d", len(failed), cells, runs, cells/runs)
	if left := h.LeftOut(); len(left) > 0 {
		f.Text += "; left out: " + strings.Join(left, ", ")
	}
	return f, errors.Join(failed...)
}
