package natlab

import "os"

// TB is the part of [testing.TB] that [Require] needs.
type TB interface {
	Helper()
	Skip(args ...any)
	Fatal(args ...any)
}

// Require skips the test where labs can't be made. With CI=true in the environment it fails instead, so that a lane which
// should have the rights never passes in silence.
func Require(t TB) {
	t.Helper()
	require(t, Available())
}

func require(t TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
