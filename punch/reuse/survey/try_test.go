package survey

import "testing"

func tryAll(t *testing.T, h *Host) []Row {
	t.Helper()
	var rows []Row
	for _, c := range h.Cases() {
		o, err := h.Try(c)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, Row{c, o})
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
