package survey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inBareNamespace has the test binary survey a network namespace that has nothing
// but a loopback interface: "down", or brought "up" first.
const inBareNamespace = "PEERD_TEST_BARE"

func init() { roles[inBareNamespace] = surveyBare }

// surveyBare prints what a bare machine is found to be.
func surveyBare(loopback string) error {
	if loopback == "up" {
		if err := bringLoopbackUp(); err != nil {
			return err
		}
	}
	h, err := Open()
	if err != nil {
		return err
	}
	rows, err := h.TryAll(context.Background())
	if err != nil {
		return err
	}
	answers, err := h.Scenarios(context.Background(), startRivalOnly)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Outcome.First != "" {
			return fmt.Errorf("%v: no first socket: %s", r.Case, r.Outcome.First)
		}
	}
	fmt.Printf("%d cases, %d answers, specific4 is %v, left out %q", len(rows), len(answers), h.Addr(Specific4), h.LeftOut())
	return nil
}

func startRivalOnly(ctx context.Context) *exec.Cmd {
	cmd := startRival(ctx)
	cmd.Env = append(cmd.Env, inBareNamespace+"=")
	return cmd
}

func bringLoopbackUp() error {
	s, err := newSocket(true, false)
	if err != nil {
		return err
	}
	defer s.close()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(int(s), unix.SIOCSIFFLAGS, request)
}

// TestBareMachine shows that neither a network nor, where users may make
// namespaces, root is needed, and what is said if there is no loopback either.
func TestBareMachine(t *testing.T) {
	for loopback, want := range map[string]string{
		"down": "127.0.0.1 cannot be used on this machine: connect ENETUNREACH; bring its loopback interface up",
		"up":   "specific4 is 127.0.0.2, left out [\"specific6: no interface but loopback has one\"]",
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), inBareNamespace+"="+loopback)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		err := cmd.Run()
		if errors.Is(err, fs.ErrPermission) && os.Getenv("CI") == "" {
			t.Skip("this machine lets no user make namespaces; run it as root")
		}
		if (err == nil) != (loopback == "up") || !strings.Contains(said.String(), want) {
			t.Errorf("loopback %s: %v: %s, want %s", loopback, err, said.String(), want)
		}
	}
}
