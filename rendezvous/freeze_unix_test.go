//go:build unix && !aix

package rendezvous

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// A client whose process is stopped keeps its registration, and what was asked
// of it meanwhile it answers when it goes on.
func TestFrozenClient(t *testing.T) {
	w := loopback(t, ServerConfig{})
	child := w.child(1)
	defer child.Process.Signal(syscall.SIGCONT)
	text, registered := strings.CutSuffix(<-child.states, " true")
	peer, err := proto.ParseID(text)
	if err != nil || !registered {
		t.Fatalf("the child says %q: %v", text, err)
	}

	n := runNode(t, w.nodeConfig())
	n.await(t, true)
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal is delivered to a thread at a time; this returns when all have
	// stopped.
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(child.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("the child did not stop: %v, %v", status, err)
	}
	const frozen = 1500 * time.Millisecond
	begin := time.Now()
	time.AfterFunc(frozen, func() { child.Process.Signal(syscall.SIGCONT) })
	if _, err := n.Introduce(t.Context(), peer, nil); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took < frozen {
		t.Errorf("a frozen process answered after %v", took)
	}
	child.stop()
	if len(child.states) > 0 {
		t.Errorf("the child lost its registration: %q", <-child.states)
	}
}
