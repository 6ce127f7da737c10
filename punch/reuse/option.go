package reuse

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
)

// option is a socket option with its value.
type option struct {
	name string // as the manual has it
	set  func(fd uintptr) error
	wish bool // a system that does not know the option is used without

	level, number int // of those that are integers
}

// integer is an option that must be set.
func integer(name string, level, number, value int) option {
	set := func(fd uintptr) error { return setInteger(fd, level, number, value) }
	return option{name: name, set: set, level: level, number: number}
}

// options are set in their order, before bind.
type options []option

func (o options) and(more options) options { return slices.Concat(o, more) }

// set sets the options of a socket. The error names the one that failed.
func (o options) set(fd uintptr) error {
	for _, option := range o {
		err := option.set(fd)
		if err != nil && !(option.wish && isAny(err, local.unknown)) {
			return os.NewSyscallError("setsockopt "+option.name, err)
		}
	}
	return nil
}

// takes reports whether the option of a name is one of these, and whether a
// socket that it has been set on has it.
func (o options) takes(name string, fd uintptr) bool {
	i := slices.IndexFunc(o, func(o option) bool { return o.name == name })
	if i < 0 || o[i].set(fd) != nil {
		return false
	}
	value, err := getInteger(fd, o[i].level, o[i].number)
	return err == nil && value != 0
}

// control is what package net calls before bind.
func (o options) control(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = o.set(fd) }); cerr != nil {
		return cerr
	}
	return err
}

// reason returns the system call that failed and its errno, without the
// addresses that the message around it names already.
func reason(err error) error {
	var call *os.SyscallError
	if errors.As(err, &call) {
		return call
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
