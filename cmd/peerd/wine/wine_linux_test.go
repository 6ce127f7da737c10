//go:build !race

package wine

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

func TestMain(m *testing.M) { natlab.Main(m) }

// TestWindowsProgram runs the Windows program in one installation of Wine's,
// which takes seconds to make. The race detector would see nothing of what runs
// there, so that it is not run a second time for that.
func TestWindowsProgram(t *testing.T) {
	require(t)
	w, p := install(t), build(t)
	for name, test := range map[string]func(*testing.T, *programs, *prefix){
		"id": testID, "sockets": testSockets, "serve": testServe, "stopped": testStopped, "transfers": testTransfers, "forward": testForward, "modes": testModes,
		"behind NATs": testBehindNATs, "reuse": testReuse,
	} {
		t.Run(name, func(t *testing.T) { test(t, p, w) })
	}
}

// The key is made once, and is the same to both systems.
func testID(t *testing.T, p *programs, w *prefix) {
	here, there := p.here(t), p.under(t, w)
	here.dir = there.dir
	id := there.answer(t, nil, "me", "id")
	if !regexp.MustCompile(`^p[a-z2-7]{55}\n$`).Match(id) {
		t.Errorf("peerd id printed %q", id)
	}
	// The modes of files are nothing to a Windows program, but to this system's.
	if err := os.Chmod(filepath.Join(there.dir, "me/identity.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*machine{there, here} {
		if again := m.answer(t, nil, "me", "id"); !bytes.Equal(again, id) {
			t.Errorf("the key of %s is that of %s", id, again)
		}
	}
}

// socketsAnswer is what the test wants of peerd sockets --json.
type socketsAnswer struct {
	Cases []struct {
		Protocol, State, First, Second, Bind string
		FirstOptions                         string `json:"first_options"`
		SecondOptions                        string `json:"second_options"`
	}
	Mode        string
	NotShared   string `json:"not_shared"`
	NotDialOnly string `json:"not_dial_only"`
	ReusePort   bool   `json:"reuse_port"`
}

// What makes the difference between Wine and Windows is in the table, and what
// follows from it in the last line.
func testSockets(t *testing.T, p *programs, w *prefix) {
	var got socketsAnswer
	if err := json.Unmarshal(p.under(t, w).answer(t, nil, "me", "--json", "sockets"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Mode != "dial-only" || got.NotShared == "" || got.NotDialOnly != "" || got.ReusePort {
		t.Errorf("mode %q, since it is not shared: %q, nor dial-only: %q; SO_REUSEPORT %v", got.Mode, got.NotShared, got.NotDialOnly, got.ReusePort)
	}
	beside := map[string]string{"bound": "", "connected": "", "listening": "WSAEACCES"}
	for _, c := range got.Cases {
		if c.Protocol == "tcp" && c.First == "wild4" && c.Second == "wild4" && c.FirstOptions == "A" && c.SecondOptions == "A" {
			if want, ok := beside[c.State]; !ok || c.Bind != want {
				t.Errorf("both with SO_REUSEADDR, the first %s: bind %q, want %q", c.State, c.Bind, want)
			}
			delete(beside, c.State)
		}
	}
	if len(beside) > 0 {
		t.Errorf("not tried: %v", beside)
	}
}

// Whoever registers is told where the server sees it. Under Wine a node finds
// that its port cannot have a listener, does without, and says why.
func testServe(t *testing.T, p *programs, w *prefix) {
	n := newNetwork(t, p, w)
	for _, m := range []*machine{n.linux, n.wine} {
		id := m.id(t, "peer")
		peer := m.begin(t, "peer", "run", "-v")
		if line := peer.says(t, false, `^(.+)$`); line != id {
			t.Errorf("run printed %q, want the ID %q", line, id)
		}
		port := peer.says(t, true, `msg=registered observed=(127\.0\.0\.1:\d+)`)
		n.server.says(t, true, `msg="client registered" peer=`+id[:10])
		peer.says(t, true, m.mode)
		if listens(port) != (m == n.linux) {
			t.Errorf("under Wine: %v; its port has a listener: %v", m == n.wine, listens(port))
		}
	}
	if out, err := os.ReadFile(n.server.stdout); err != nil || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("the server printed %q, want the URL alone", out)
	}
}

func listens(addr string) bool {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Ctrl+C ends a server in good order; it may be killed, too. Its port is free at
// once.
func testStopped(t *testing.T, p *programs, w *prefix) {
	m := p.under(t, w)
	listen := "127.0.0.1:0"
	for _, end := range []struct {
		signal syscall.Signal
		code   int
		log    string
	}{
		{syscall.SIGINT, 0, `msg="shutting down" reason=interrupted`},
		{syscall.SIGTERM, -1, ""}, // no program of Windows is told of that
		{syscall.SIGKILL, -1, ""},
		{syscall.SIGINT, 0, ""},
	} {
		server := m.begin(t, "server", "serve", "--listen", listen, "--probe-listen", "")
		listen = server.says(t, false, `^peerd://(127\.0\.0\.1:\d+)#`)
		if code := server.end(t, end.signal); code != end.code {
			t.Errorf("%v: exit code %d, want %d", end.signal, code, end.code)
		}
		server.says(t, true, end.log)
	}
}

// testReuse runs the tests of the package that knows most of Windows.
func testReuse(t *testing.T, _ *programs, w *prefix) {
	binary := filepath.Join(t.TempDir(), "reuse.exe")
	goTool(t, forWindows, "test", "-c", "-o", binary, "github.com/peerd/peerd/punch/reuse")
	w.tool(t, "wine", binary)
}
