package linuxrules

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// asRival makes the test binary the other process of a survey.
const asRival = "PEERD_TEST_RIVAL"

func TestMain(m *testing.M) {
	if os.Getenv(asRival) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := survey.Rival(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func startRival(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), asRival+"=1")
	cmd.Stderr = os.Stderr
	return cmd
}

// TestScenariosFollowTheRules has the kernel answer the questions that take
// more than two binds.
func TestScenariosFollowTheRules(t *testing.T) {
	h, err := survey.Open()
	if err != nil {
		t.Fatal(err)
	}
	for range runs {
		list, err := h.Scenarios(t.Context(), startRival)
		if err != nil {
			t.Fatal(err)
		}
		compared, differ := DifferScenarios(list)
		for _, d := range differ {
			t.Error(d)
		}
		skipped := 0
		for _, s := range list {
			if s.Skipped == "" {
				continue
			}
			skipped++
			if !maySkip(s) {
				t.Errorf("%s: %s: skipped: %s", s.Name, s.Variant, s.Skipped)
			}
		}
		if compared+skipped < len(list) {
			t.Errorf("%d of %d scenarios are not in the rules", len(list)-skipped-compared, len(list))
		}
	}
}

// maySkip: there is no option against sharing, and another user's process takes
// root.
func maySkip(s survey.Scenario) bool {
	return s.Name == "exclusive" || s.Name == "hijack" && os.Geteuid() != 0
}
