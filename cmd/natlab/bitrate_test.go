package main

import "testing"

func TestBitRate(t *testing.T) {
	for text, want := range map[string]bitRate{"100Mbit": 100e6, "100Mbit/s": 100e6, "64kbit": 64e3, "1Gbit": 1e9, "9bit": 9, "1500kbit": 15e5} {
		var r bitRate
		if err := r.Set(text); err != nil || r != want {
			t.Errorf("%q: %d, %v, want %d", text, r, err, want)
		}
		var again bitRate
		if err := again.Set(r.String()); err != nil || again != r {
			t.Errorf("%d prints as %q, which is %d, %v", r, r, again, err)
		}
	}
	for _, text := range []string{"", "100", "fast", "0Mbit", "-1Mbit", "1.5Mbit", "99999999999Gbit", "100MB"} {
		if r := bitRate(7); r.Set(text) == nil || r != 7 {
			t.Errorf("%q is taken as %d", text, r)
		}
	}
}
