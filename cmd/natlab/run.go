package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
)

// runOptions is what the run command is told on its command line.
type runOptions struct {
	natA, natB string
	cfg        natlab.Config
	rate       bitRate
	expose     []string
	onB        string
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARG...]",
		Short: "Run a command on a host of the lab, with a peer behind the other NAT",
		Long: `Run a command on host A of a lab. On the server host there is a rendezvous server,
and on host B a peer that exposes the given targets to A. The command gets
standard input and output, and in its environment:

  PEERD_SERVER                   URL of the rendezvous server
  PEERD_STATE_DIR                a temporary directory with the identity of A
  PEER                           ID of the peer on B
  LAB_SERVER, LAB_A, LAB_B       addresses of the hosts themselves
  LAB_A_OUTSIDE, LAB_B_OUTSIDE   outside addresses of their NATs

PEERD_STATE_DIR and PEER are not set for the command on B. The exit code is that of
the command on A; whatever runs on the hosts by then is killed.`,
		Example: `  natlab run --a openwrt --b user-rst --rtt 40ms --expose 22 -- sh -c 'peerd ping $PEER -c 3'
  natlab run --expose web=127.0.0.1:8000 --on-b 'python3 -m http.server' -- sh
  natlab run --a linux-drop --same-nat -- ip address`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows COMMAND is the command's
	f.StringVar(&o.natA, "a", "linux-drop", "`PROFILE` of the NAT in front of host A")
	f.StringVar(&o.natB, "b", "linux-drop", "`PROFILE` of the NAT in front of host B")
	f.DurationVar(&o.cfg.RTT, "rtt", 0, "round trip between A and B")
	f.DurationVar(&o.cfg.Jitter, "jitter", 0, "additional delay of each packet at most")
	f.Float64Var(&o.cfg.Loss, "loss", 0, "probability from 0 to 1 that a packet is lost, one way")
	f.Var(&o.rate, "rate", "`RATE` such as 100Mbit at which A and B can each send (default unlimited)")
	f.BoolVar(&o.cfg.SameNAT, "same-nat", false, "put both hosts on one network behind the NAT of A")
	f.StringArrayVar(&o.expose, "expose", nil, "let A open `TARGET[=ADDR]` of B: a port of its loopback, HOST:PORT, or a name for an address")
	f.StringVar(&o.onB, "on-b", "", "shell `COMMAND` to run on host B meanwhile")
	return cmd
}

// run makes the lab and runs the command in it.
func (o *runOptions) run(cmd *cobra.Command, args []string) error {
	cfg, err := labConfig(cmd, o.natA, o.natB)
	if err != nil {
		return err
	}
	cfg.RTT, cfg.Jitter, cfg.Loss, cfg.SameNAT = o.cfg.RTT, o.cfg.Jitter, o.cfg.Loss, o.cfg.SameNAT
	cfg.Rate = int64(o.rate)
	if cfg.RTT < 0 || cfg.Jitter < 0 || cfg.Loss < 0 || cfg.Loss > 1 {
		return &usageError{cmd, "--rtt and --jitter are times of 0 or more, --loss a probability from 0 to 1"}
	}
	targets, err := exposed(o.expose)
	if err != nil {
		return &usageError{cmd, err.Error()}
	}
	s, err := newStage(cfg)
	if err != nil {
		return err
	}
	defer s.close()
	g := &guest{stage: s, stdin: cmd.InOrStdin(), stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
	defer g.close()
	if err := g.settle(cmd.Context(), targets); err != nil {
		return err
	}
	if o.onB != "" {
		if err := g.startOnB(o.onB); err != nil {
			return err
		}
	}
	return g.runOnA(cmd.Context(), args)
}

// exposed parses TARGET[=ADDR].
func exposed(list []string) (map[string]string, error) {
	targets := map[string]string{}
	for _, s := range list {
		name, addr, named := strings.Cut(s, "=")
		if !named {
			addr = name
		}
		if _, err := strconv.ParseUint(addr, 10, 16); err == nil {
			addr = net.JoinHostPort("127.0.0.1", addr)
		}
		if _, _, err := net.SplitHostPort(addr); err != nil || name == "" || len(name) > proto.MaxTarget {
			return nil, fmt.Errorf("--expose: %q is neither a port, HOST:PORT nor NAME=ADDR", s)
		}
		targets[name] = addr
	}
	return targets, nil
}

// guest is a command on A, and all that is there for it.
type guest struct {
	stage          *stage
	stdin          io.Reader
	stdout, stderr io.Writer

	dir     string   // state directory of A
	peer    *actor   // on B
	env     []string // of commands on either host
	tasks   sync.WaitGroup
	closing chan struct{} // closed before what runs on B is killed
}

// settle makes A's identity and starts the peer on B.
func (g *guest) settle(ctx context.Context, targets map[string]string) (err error) {
	g.closing = make(chan struct{})
	if g.dir, err = os.MkdirTemp("", "natlab-"); err != nil {
		return err
	}
	key, _, err := identity.LoadOrCreate(filepath.Join(g.dir, "identity.key"))
	if err != nil {
		return err
	}
	if g.peer, err = newActor(ctx, g.stage.lab.B); err != nil {
		return err
	}
	g.env = environment(g.stage)
	if err := g.peer.register(ctx, order{Op: "start", Server: g.stage.url.String(), Answer: true, Allow: []proto.ID{key.ID()}, Expose: targets}); err != nil {
		return err
	}
	g.tasks.Go(g.peer.drain)
	return nil
}

// environment is what commands on either host get.
func environment(s *stage) []string {
	return append(os.Environ(), "PEERD_SERVER="+s.url.String(), "LAB_SERVER="+s.lab.Server.Addr().String(),
		"LAB_A="+s.lab.A.Addr().String(), "LAB_A_OUTSIDE="+s.lab.A.PublicAddr().String(),
		"LAB_B="+s.lab.B.Addr().String(), "LAB_B_OUTSIDE="+s.lab.B.PublicAddr().String())
}

// killDelay is how long a command may take to end once it is interrupted.
const killDelay = 3 * time.Second

// startOnB starts the shell command on B, which says on standard error if it
// ends too early.
func (g *guest) startOnB(script string) error {
	cmd := g.stage.lab.B.Command(context.Background(), "sh", "-c", script)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = g.env, g.stderr, g.stderr, killDelay
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the command on B: %w", err)
	}
	g.tasks.Go(func() {
		err := cmd.Wait()
		select {
		case <-g.closing:
		default:
			fmt.Fprintf(g.stderr, "natlab: the command on B has ended: %s\n", cmp.Or(errText(err), "exit status 0"))
		}
	})
	return nil
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// runOnA runs the command with the standard files; its exit code comes as a
// *commandError.
func (g *guest) runOnA(ctx context.Context, args []string) error {
	cmd := g.stage.lab.A.Command(ctx, args[0], args[1:]...)
	cmd.Env = append(slices.Clip(g.env), "PEERD_STATE_DIR="+g.dir, "PEER="+g.peer.id.String())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = g.stdin, g.stdout, g.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killDelay
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the command on A: %w", err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &commandError{128 + int(status.Signal())}
	}
	return &commandError{exit.ExitCode()}
}

// close ends everything and removes the state directory.
func (g *guest) close() {
	if g.closing != nil {
		close(g.closing)
	}
	g.stage.close()
	g.tasks.Wait()
	if g.dir != "" {
		os.RemoveAll(g.dir)
	}
}
