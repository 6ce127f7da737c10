package main

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/peerd/peerd/punch/natlab"
)

// sshdCommand prepares sshd on a host. As root it wants its directory for
// privilege separation, which the service's unit would make: here it gets a
// /run of its own in a mount namespace, so that nothing outside is touched.
// Root of a user namespace with one user can't separate privileges. There, sshd
// runs in a user namespace below, as the user that this is outside, as any
// unprivileged sshd does: it then lets only that user in.
func sshdCommand(ctx context.Context, h *natlab.Host, program string, args ...string) *natlab.Cmd {
	if uid := outerUID(); uid != os.Getuid() {
		cmd := h.Command(ctx, program, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		}
		return cmd
	}
	script := `mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec "$0" "$@"`
	cmd := h.Command(ctx, "/bin/sh", append([]string{"-c", script, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// outerUID is this process's user outside of the user namespace that
// natlab.Enter may have made.
func outerUID() int {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return os.Getuid()
	}
	var inside, outside, size int
	if _, err := fmt.Sscan(string(text), &inside, &outside, &size); err != nil || size != 1 {
		return os.Getuid()
	}
	return outside
}
