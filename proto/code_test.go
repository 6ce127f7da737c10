package proto

import "testing"

func TestCodeString(t *testing.T) {
	seen := map[string]bool{}
	for c := CodeOK; c <= CodeNotStored; c++ {
		if s := c.String(); s == "" || seen[s] {
			t.Errorf("code %d is %q", uint16(c), s)
		}
		seen[c.String()] = true
	}
	for _, c := range []Code{CodeNotStored + 1, 65535} {
		if s := c.String(); s[:5] != "code " {
			t.Errorf("code %d is %q", uint16(c), s)
		}
	}
}
