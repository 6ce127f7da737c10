package tunnel

import (
	"net"
	"path/filepath"
	"testing"
)

// replacesDead says that a socket which nobody has open any more can be told
// from one that is busy.
const replacesDead = true

// Of many that find a dead socket one replaces it, and is the one that answers.
func TestReplaceDeadSocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	for range 20 {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
		listeners := make(chan net.Listener)
		for range 8 {
			go func() {
				l, _ := Bind{Path: name}.Listen(t.Context())
				listeners <- l
			}()
		}
		var won []net.Listener
		for range 8 {
			if l := <-listeners; l != nil {
				won = append(won, l)
			}
		}
		if len(won) != 1 {
			t.Fatalf("%d listen at one path", len(won))
		}
		c, err := net.Dial("unix", name)
		if err != nil {
			t.Fatalf("who has replaced the socket cannot be reached: %v", err)
		}
		c.Close()
		won[0].Close()
	}
}
