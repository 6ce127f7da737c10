package linuxrules

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// wish is what a socket asks for.
type wish struct {
	survey.Address
	survey.Options
}

// TestThree binds three sockets, one after the other: only with three does it
// show what a bind bucket remembers.
func TestThree(t *testing.T) {
	h, err := survey.Open()
	if err != nil {
		t.Fatal(err)
	}
	var wishes []wish
	for a := survey.Wild4; a <= survey.WildDual; a++ {
		for o := survey.None; o <= survey.Both && h.Addr(a).IsValid(); o++ {
			wishes = append(wishes, wish{a, o})
		}
	}
	number := unused(t, h)
	for _, first := range wishes {
		for _, second := range wishes {
			for _, third := range wishes {
				all := [3]wish{first, second, third}
				if got, want := bindAll(t, h, number, all), expectAll(all); got != want {
					t.Errorf("%v: %q, by the kernel's rules %q", all, got, want)
				}
			}
		}
	}
}

func expectAll(wishes [3]wish) (errs [3]string) {
	var p port
	for i, w := range wishes {
		errs[i] = p.bindTCP(newSocket(w.Address, w.Options))
	}
	return errs
}

func bindAll(t *testing.T, h *survey.Host, number int, wishes [3]wish) (errs [3]string) {
	t.Helper()
	for i, w := range wishes {
		fd := open(t, w)
		defer unix.Close(fd)
		if err := unix.Bind(fd, sockaddr(h.Addr(w.Address), number)); err != nil {
			errs[i] = unix.ErrnoName(err.(unix.Errno))
		}
	}
	return errs
}

func open(t *testing.T, w wish) (fd int) {
	t.Helper()
	family := unix.AF_INET
	if w.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	set := func(level, option int, on bool) {
		if on && err == nil {
			err = unix.SetsockoptInt(fd, level, option, 1)
		}
	}
	set(unix.SOL_SOCKET, unix.SO_REUSEADDR, w.Options&survey.Addr != 0)
	set(unix.SOL_SOCKET, unix.SO_REUSEPORT, w.Options&survey.Port != 0)
	set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, w.Address == survey.Wild6)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func sockaddr(addr netip.Addr, number int) unix.Sockaddr {
	if addr.Is6() {
		return &unix.SockaddrInet6{Addr: addr.As16(), Port: number}
	}
	return &unix.SockaddrInet4{Addr: addr.As4(), Port: number}
}

// unused returns a port number that nobody has, and that the kernel gives to
// nobody who does not ask for it.
func unused(t *testing.T, h *survey.Host) int {
	t.Helper()
	widest := survey.Wild4
	if h.Addr(survey.WildDual).IsValid() {
		widest = survey.WildDual
	}
	for number := 12000; number < 20000; number++ {
		fd := open(t, wish{widest, survey.None})
		err := unix.Bind(fd, sockaddr(h.Addr(widest), number))
		unix.Close(fd)
		if err == nil {
			return number
		}
	}
	t.Fatal("no port from 12000 to 19999 is free")
	return 0
}
