//go:build linux

package main

import (
	"context"
	"net/netip"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/reuse"
)

// The caps count what the kernel repeats of a brief dial, so it must repeat no more.
func TestBriefDials(t *testing.T) {
	natlab.Require(t)
	t.Parallel()
	lab, err := natlab.New(natlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	p := newPuncher(t, lab.A, 0)
	capture, err := lab.A.Capture()
	if err != nil {
		t.Fatal(err)
	}
	to := netip.AddrPortFrom(silentThird, 9)
	if err := p.do(func() error {
		_, err := p.port.BeginWith(to, reuse.DialOptions{Brief: true}).Wait(context.Background())
		if err == nil {
			t.Error("somebody answers")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range capture.Packets() {
		if s.Event == natlab.Sent && s.Flags == natlab.SYN && s.Dst == to {
			n++
		}
	}
	if n < 2 || n > 3 {
		t.Errorf("%d SYNs", n)
	}
}
