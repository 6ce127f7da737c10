//go:build linux

package natlab

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// TestSpoil changes one segment of a transfer, with and without super-packets: TCP does not notice.
func TestSpoil(t *testing.T) {
	Require(t)
	for name, cfg := range map[string]Config{
		"super-packets": {A: profile(t, "linux-drop")},
		"segments":      {A: profile(t, "user-drop"), Rate: 1e9},
	} {
		t.Run(name, func(t *testing.T) {
			lab := newLab(t, cfg)
			a, b := connect(t, lab.A, lab.B)
			lab.Spoil(func(p Packet) bool { return p.Link == "A" && p.Payload == 3 })
			b.SetReadDeadline(time.Now().Add(5 * time.Second))
			for i, want := range []string{"1234", "\xce\xcd3", "123"} { // the first is too long, the second is taken
				if _, err := io.WriteString(a, "1234"[:len(want)]); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, []byte(want)) {
					t.Errorf("message %d: %q, %v, want %q", i, got, err, want)
				}
			}
		})
	}
}
