package reuse

import "testing"

// BenchmarkProbe measures what every start of a node waits for: less than 20 ms.
func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := Probe(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestParseMode(t *testing.T) {
	for _, m := range []Mode{Shared, DialOnly, Sequential} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	for _, s := range []string{"", "auto", "Shared", Mode(0).String(), Mode(4).String()} {
		if m, err := ParseMode(s); err == nil {
			t.Errorf("ParseMode(%q) = %v, want an error", s, m)
		}
	}
}

// What the best mode is follows from what works.
func TestProbeAgrees(t *testing.T) {
	c, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if (c.Mode == Shared) != (c.NotShared == nil) || (c.Mode == Sequential) != (c.NotShared != nil && c.NotDialOnly != nil) {
		t.Errorf("%+v does not agree with itself", c)
	}
	if p, err := Claim(0, c.Mode); err != nil {
		t.Error(err)
	} else {
		defer p.Close()
		if p.Mode() != c.Mode || (len(p.Listeners()) > 0) != (c.Mode == Shared) {
			t.Errorf("a port in mode %v has mode %v and %d listeners", c.Mode, p.Mode(), len(p.Listeners()))
		}
	}
}
