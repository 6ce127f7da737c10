package survey

import "testing"

func tryAll(t *testing.T, h *Host) []Row {
	t.Helper()
	rows, err := h.TryAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestDeterministic shows that what is found is the system's doing, and not
// chance or another program's.
func TestDeterministic(t *testing.T) {
	h := mustOpen(t)
	want := tryAll(t, h)
	for range 2 {
		for i, got := range tryAll(t, h) {
			if got != want[i] {
				t.Errorf("%v: %+v, and before %+v", got.Case, got.Outcome, want[i].Outcome)
			}
		}
	}
}
