package main

import (
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

func TestX(t *testing.T) {
	natlab.Require(t)
	for _, c := range []cell{
		{A: "linux-drop", B: "user-drop", RTT: 40 * time.Millisecond},
		{A: "linux-open", B: "linux-open", RTT: 40 * time.Millisecond},
		{A: "linux-icmp", B: "user-rst", RTT: 40 * time.Millisecond},
		{A: "linux-open", B: "linux-open", RTT: 2 * time.Millisecond, Freeze: 500 * time.Millisecond},
		{A: "linux-icmp", B: "user-icmp", RTT: 200 * time.Millisecond, Freeze: 500 * time.Millisecond},
	} {
		t.Run(c.String(), func(t *testing.T) {
			b, err := newBench(c, 1)
			if err != nil {
				t.Fatal(err)
			}
			defer b.close()
			for i := range 6 {
				o := b.run(i)
				t.Log(o.FirstByte, o.Connected, o.Err)
			}
		})
	}
}
