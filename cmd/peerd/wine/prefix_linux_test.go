package wine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds every step; on an idle machine none takes ten seconds.
const patience = 2 * time.Minute

// prefix is a Windows installation of Wine's, with a server process of its own
// while programs run in it.
type prefix struct{ dir string }

// install makes a prefix, in which Go's programs can run.
func install(t *testing.T) *prefix {
	p := &prefix{t.TempDir()}
	mkdir(t, p.temp())
	t.Cleanup(func() { p.shutDown(t) })
	p.tool(t, "wineboot", "--init")
	p.shutDown(t) // which writes the registry, for another
	dll := filepath.Join(p.dir, "drive_c/windows/system32/bcryptprimitives.dll")
	must(t, exec.Command(compiler, "-shared", "-s", "-o", dll, "testdata/processprng.c", "-ladvapi32"))
	return p
}

// another returns a prefix with the same files and another server process, which
// makes the sockets of its programs: every host of a lab needs one.
func (p *prefix) another(t *testing.T) *prefix {
	q := &prefix{t.TempDir()}
	mkdir(t, q.temp())
	mkdir(t, filepath.Join(q.dir, "dosdevices"))
	for _, name := range []string{"system.reg", "user.reg", "userdef.reg", ".update-timestamp"} {
		data, err := os.ReadFile(filepath.Join(p.dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(q.dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"drive_c": filepath.Join(p.dir, "drive_c"), "dosdevices/c:": "../drive_c", "dosdevices/z:": "/",
	} {
		if err := os.Symlink(to, filepath.Join(q.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { q.shutDown(t) })
	return q
}

// temp is where the server process has its socket.
func (p *prefix) temp() string { return filepath.Join(p.dir, "tmp") }

// env is the environment of programs in the prefix: no display, no messages of
// Wine's, and no offers to fetch Mono and Gecko.
func (p *prefix) env() []string {
	return append(clean(os.Environ()), "WINEPREFIX="+p.dir, "TMPDIR="+p.temp(), "HOME="+p.dir, "WINEDEBUG=-all",
		"WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=d")
}

// clean returns an environment without what the user has set for Wine and peerd.
func clean(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "DISPLAY" || strings.HasPrefix(name, "WINE") || strings.HasPrefix(name, "PEERD_")
	})
}

// tool runs one of Wine's programs.
func (p *prefix) tool(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = p.env()
	cmd.WaitDelay = time.Second // Wine's services inherit the output
	must(t, cmd)
}

// shutDown ends all programs of the prefix, and waits for its server process.
func (p *prefix) shutDown(t *testing.T) {
	if servers, _ := filepath.Glob(filepath.Join(p.temp(), "wine-*/server-*/socket")); len(servers) == 0 {
		return
	}
	p.tool(t, "wineserver", "--kill")
	p.tool(t, "wineserver", "--wait")
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// must runs a command.
func must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil && err != exec.ErrWaitDelay {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
}
