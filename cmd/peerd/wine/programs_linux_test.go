package wine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// compiler makes Windows libraries.
const compiler = "x86_64-w64-mingw32-gcc"

// programs are the two peerds.
type programs struct{ native, windows string }

// build builds them.
func build(t *testing.T) *programs {
	dir := t.TempDir()
	p := &programs{filepath.Join(dir, "peerd"), filepath.Join(dir, "peerd.exe")}
	goTool(t, nil, "build", "-o", p.native, "github.com/peerd/peerd/cmd/peerd")
	goTool(t, forWindows, "build", "-o", p.windows, "github.com/peerd/peerd/cmd/peerd")
	return p
}

var forWindows = []string{"GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0"}

func goTool(t *testing.T, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	must(t, cmd)
}

// require skips the test where Wine cannot be had. With CI=true it fails.
func require(t *testing.T) {
	t.Helper()
	err := available()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

func available() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the Windows program for amd64 is tested, and not on %s", runtime.GOARCH)
	}
	for _, tool := range []string{"wine", "wineboot", "wineserver", compiler} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%w; on Debian: apt-get install --no-install-recommends wine gcc-mingw-w64-x86-64", err)
		}
	}
	return nil
}
