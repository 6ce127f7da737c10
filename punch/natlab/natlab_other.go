//go:build !linux

package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
)

var errLinux = errors.New("natlab needs Linux")

// Main runs m and exits with its result.
func Main(m interface{ Run() int }) { os.Exit(m.Run()) }

// Enter says that natlab needs Linux.
func Enter() error { return errLinux }

// Available says that natlab needs Linux.
func Available() error { return errLinux }

// Lab can't be made on this system.
type Lab struct{ Server, A, B *Host }

// New says that natlab needs Linux.
func New(Config) (*Lab, error) { return nil, errLinux }

func (*Lab) Close() error                      { return nil }
func (*Lab) String() string                    { return errLinux.Error() }
func (*Lab) Tap(func(Packet)) (remove func())  { return func() {} }
func (*Lab) Spoil(func(Packet) bool)           {}
func (*Lab) Cut(*Host, bool) error             { return errLinux }
func (*Lab) Unplug(*Host) error                { return errLinux }
func (*Lab) Plug(*Host, netip.Addr) error      { return errLinux }
func Probe(*Lab, *Host) (b Behaviour, _ error) { return b, errLinux }

// ProbeSlowly says that natlab needs Linux.
func ProbeSlowly(*Lab, *Host) (b Behaviour, _ error) { return b, errLinux }

// Host can't be made on this system.
type Host struct{}

func (*Host) Name() string                                   { return "" }
func (*Host) Addr() (a netip.Addr)                           { return a }
func (*Host) Addr6() (a netip.Addr)                          { return a }
func (*Host) PublicAddr() (a netip.Addr)                     { return a }
func (*Host) Alternate() (a netip.Addr)                      { return a }
func (*Host) Gateway() (a netip.Addr)                        { return a }
func (*Host) Do(func() error) error                          { return errLinux }
func (*Host) Listen(string) (net.Listener, error)            { return nil, errLinux }
func (*Host) Dial(context.Context, string) (net.Conn, error) { return nil, errLinux }
func (*Host) Capture() (*Capture, error)                     { return nil, errLinux }

// Command prepares a command that fails.
func (*Host) Command(ctx context.Context, name string, arg ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, name, arg...)}
	c.Err = fmt.Errorf("run %s: %w", name, errLinux)
	return c
}

// Cmd fails on this system.
type Cmd struct {
	*exec.Cmd
	Filter Filter
}

// Capture can't be made on this system.
type Capture struct{}

func (*Capture) Packets() []Packet { return nil }
func (*Capture) Close() error      { return nil }
