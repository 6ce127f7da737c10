package rendezvous

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// childServer is the variable of the environment that makes this binary run
// clients of the server whose URL it holds, instead of the tests.
const childServer = "PEERD_TEST_CHILD_SERVER"

func TestMain(m *testing.M) {
	if url := os.Getenv(childServer); url != "" {
		runChild(url, os.Args[1:])
		return
	}
	goleak.VerifyTestMain(m)
}

// runChild runs so many clients as the argument says until standard input
// ends. It prints the ID and the state of each when that changes.
func runChild(url string, args []string) {
	server, err := proto.ParseServerURL(url)
	if err != nil {
		panic(err)
	}
	var count int
	fmt.Sscan(args[0], &count)
	ctx, cancel := context.WithCancel(context.Background())
	for range count {
		key := identity.Generate()
		go NewClient(ClientConfig{
			Server: server, Key: key, Instance: proto.NewToken(), Answers: true,
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", server.HostPort())
			},
			Offer: func(proto.ID) ([]proto.Candidate, proto.Code) { return nil, proto.CodeOK },
			State: func(s State) { os.Stdout.WriteString(fmt.Sprintln(key.ID(), s.Registered)) },
		}).Run(ctx)
	}
	os.Stdin.Read(make([]byte, 1))
	cancel()
}

// child is a process that runs clients of w.
type child struct {
	*exec.Cmd
	states chan string // "ID true" when one is registered, "ID false" when it is not
	stop   func()
}

func (w *world) child(clients int) *child {
	w.t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0], fmt.Sprint(clients)), states: make(chan string, 2*clients)}
	c.Env = append(os.Environ(), childServer+"="+w.url().String())
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	c.Stdout = lines{c.states}
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	c.stop = func() {
		stdin.Close()
		c.Wait()
	}
	w.t.Cleanup(c.stop)
	return c
}

// lines sends the lines that are written to it to a channel. Each write holds
// whole lines.
type lines struct{ to chan string }

func (l lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		l.to <- strings.TrimSpace(line)
	}
	return len(b), nil
}
