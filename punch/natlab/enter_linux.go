package natlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// entered marks the environment of a process that was re-executed in a user namespace, so that it never tries again.
const entered = "PEERD_NATLAB_ENTERED"

// Main runs m, such as a *testing.M, with the right to make labs, and exits with its result. It runs m all the same where that
// is impossible: [Require] then skips what needs a lab.
func Main(m interface{ Run() int }) {
	if Available() == nil {
		if err := Enter(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// Enter makes sure that this process may make labs. Without root it runs itself again inside a new user namespace, as the same
// command with the same standard files, and exits with its result: it must be called first thing in main. It returns nil when
// the rights are there, and the error of [Available] when they can't be had.
func Enter() error {
	if direct() == nil {
		return nil
	}
	if err := Available(); err != nil {
		return err
	}
	code, err := reexec()
	if err != nil {
		return fmt.Errorf("natlab: enter a user namespace: %w", err)
	}
	os.Exit(code)
	return nil
}

// Available returns nil if labs can be made here, directly or by way of [Enter]. Else the error says what to type.
func Available() error {
	err := direct()
	if err == nil {
		return nil
	}
	if os.Geteuid() == 0 || os.Getenv(entered) != "" {
		return explain(err)
	}
	if err := knownObstacle(); err != nil {
		return err
	}
	if err := tryUserNamespace(); err != nil {
		return explain(err)
	}
	return nil
}

// direct tries once what every lab needs.
var direct = sync.OnceValue(func() error {
	result := make(chan error)
	onThread(func() { result <- tryAll() })
	return <-result
})

// tryAll leaves the calling thread in a namespace of its own.
func tryAll() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if err := setupStack(false); err != nil {
		return err
	}
	if err := setupKernelNAT(rules{}, netip.Addr{}); err != nil {
		return err
	}
	t, err := openTUN(hostDevice, true)
	if err == nil {
		close(t.done)
		t.close()
	}
	return err
}

// obstacles are the settings by which distributions forbid user namespaces.
var obstacles = []struct{ path, bad, fix string }{
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	{"/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"},
	{"/proc/sys/user/max_net_namespaces", "0", "sudo sysctl user.max_net_namespaces=10000"},
}

func knownObstacle() error {
	for _, o := range obstacles {
		b, err := os.ReadFile(o.path)
		if err == nil && strings.TrimSpace(string(b)) == o.bad {
			return fmt.Errorf("natlab: this machine lets only root make namespaces: run as root, or type: %s", o.fix)
		}
	}
	switch err := unix.Access(tunPath, unix.R_OK|unix.W_OK); {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("natlab: %s is for root only here: run as root, or type: sudo chmod 0666 %s", tunPath, tunPath)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("natlab: there is no %s: type: sudo modprobe tun", tunPath)
	}
	return nil
}

func explain(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("natlab: the kernel lacks what a lab needs, perhaps because modules are not loaded; type: "+
			"sudo modprobe -a tun veth nf_tables nf_conntrack nft_masq nft_reject_ipv4 nft_limit: %w", err)
	}
	return fmt.Errorf("natlab: labs can't be made here, run as root (sudo): %w", err)
}

// tryUserNamespace starts a harmless command the way reexec does.
func tryUserNamespace() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = userNamespace()
	return cmd.Run()
}

// userNamespace maps the user to root of new user and network namespaces.
func userNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
}

// reexec runs this command again inside a user namespace and returns its exit code. The signal at the parent's death is tied
// to the thread that forks.
func reexec() (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), entered+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = userNamespace()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer relaySignals(cmd.Process)()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// relaySignals passes on what ends a program. An interrupt from the terminal reaches the child by itself.
func relaySignals(child *os.Process) (stop func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range signals {
			if s == syscall.SIGTERM {
				child.Signal(s)
			}
		}
	}()
	return func() { signal.Stop(signals); close(signals) }
}
