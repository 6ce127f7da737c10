package wine

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
)

// transferSize is enough for windows and buffers to fill.
const transferSize = 8 << 20

func randomBytes() []byte {
	data := make([]byte, transferSize)
	rand.Read(data)
	return data
}

// echo sends back what it gets until the test ends.
func echo(t *testing.T, l net.Listener) string {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				io.Copy(c, c)
				c.(*net.TCPConn).CloseWrite()
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func sameBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if sha256.Sum256(got) != sha256.Sum256(want) {
		t.Errorf("%d bytes came back, with another checksum than the %d that were sent", len(got), len(want))
	}
}

// testTransfers sends through tunnels between a peer under Wine and one of this
// system, each calling the other. Two under Wine are for testBehindNATs: on one
// host's loopback a SYN is answered before connect has returned, so that no two
// dials ever cross.
func testTransfers(t *testing.T, p *programs, w *prefix) {
	n := newNetwork(t, p, w)
	target := echo(t, listen(t))
	for name, pair := range map[string][2]*machine{"to Wine": {n.linux, n.wine}, "from Wine": {n.wine, n.linux}} {
		t.Run(name, func(t *testing.T) {
			caller, answerer := pair[0], pair[1]
			id := answerer.id(t, "home")
			answerer.begin(t, "home", "run", "--allow", caller.id(t, "away"), "--expose", "echo="+target).says(t, false, "^"+id)
			sent := randomBytes()
			sameBytes(t, caller.answer(t, sent, "away", "nc", id, "echo"), sent)
			if out := caller.answer(t, nil, "away", "ping", "-c", "1", id); !bytes.HasPrefix(out, []byte("direct ")) {
				t.Errorf("ping printed %q", out)
			}
		})
	}
}

// testModes has a node under Wine take the mode that it can have and does not
// choose, and no other.
func testModes(t *testing.T, p *programs, w *prefix) {
	n := newNetwork(t, p, w)
	id := n.linux.id(t, "home")
	n.linux.begin(t, "home", "run", "--allow", n.wine.id(t, "away"), "--expose", "echo="+echo(t, listen(t))).says(t, false, "^"+id)
	sent := randomBytes()
	sameBytes(t, n.wine.answer(t, sent, "away", "nc", "--port-mode", "sequential", id, "echo"), sent)
	shared := n.wine.begin(t, "away", "nc", "--port-mode", "shared", id, "echo")
	if code := shared.end(t, nil); code != 1 {
		t.Errorf("with a mode that does not work: exit code %d, want 1", code)
	}
	shared.says(t, true, `^peerd: port mode shared does not work on this system`)
}

// A forward listens under Wine.
func testForward(t *testing.T, p *programs, w *prefix) {
	n := newNetwork(t, p, w)
	id := n.linux.id(t, "home")
	n.linux.begin(t, "home", "run", "--allow", n.wine.id(t, "away"), "--expose", "echo="+echo(t, listen(t))).says(t, false, "^"+id)
	connect := n.wine.begin(t, "away", "connect", id, "-L", "0:echo")
	c, err := net.Dial("tcp4", connect.says(t, true, `^forward (\S+) -> `))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := randomBytes()
	go func() { c.Write(sent); c.(*net.TCPConn).CloseWrite() }()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	sameBytes(t, got, sent)
	if code := connect.end(t, syscall.SIGINT); code != 130 {
		t.Errorf("interrupted, connect exits with %d, want 130", code)
	}
}
