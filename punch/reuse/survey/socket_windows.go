package survey

import (
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// What x/sys/windows does not have.
var (
	winsock         = windows.NewLazySystemDLL("ws2_32.dll")
	procAccept      = winsock.NewProc("accept")
	procRecv        = winsock.NewProc("recv")
	procSelect      = winsock.NewProc("select")
	procIoctlsocket = winsock.NewProc("ioctlsocket")
)

const (
	fionbio = 0x8004667e // ioctlsocket: do not block
	soError = 0x1007
)

// reusePort does not exist: SO_REUSEADDR is what shares a port.
const reusePort = 0

// startWinsock is needed once in a process.
var startWinsock = sync.OnceValue(func() error {
	var data windows.WSAData
	return windows.WSAStartup(2<<8|2, &data)
})

// socket is a socket that never blocks; each method is one system call, and its
// error the bare errno.
type socket windows.Handle

// newSocket returns a socket.
func newSocket(udp, six bool) (socket, error) {
	if err := startWinsock(); err != nil {
		return 0, err
	}
	family, kind := windows.AF_INET, windows.SOCK_STREAM
	if six {
		family = windows.AF_INET6
	}
	if udp {
		kind = windows.SOCK_DGRAM
	}
	h, err := windows.Socket(family, kind, 0)
	if err != nil {
		return 0, err
	}
	return socket(h), socket(h).unblock()
}

func (s socket) unblock() error {
	yes := uint32(1)
	if r, _, err := procIoctlsocket.Call(uintptr(s), fionbio, uintptr(unsafe.Pointer(&yes))); int32(r) != 0 {
		return err
	}
	return nil
}

func (s socket) close() { windows.Closesocket(windows.Handle(s)) }

// set sets SO_REUSEADDR.
func (s socket) set(o Options) error {
	if o == Port {
		return errNoOption
	}
	return windows.SetsockoptInt(windows.Handle(s), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
}

// only6 sets IPV6_V6ONLY, or clears it.
func (s socket) only6(only bool) error {
	value := 0
	if only {
		value = 1
	}
	return windows.SetsockoptInt(windows.Handle(s), windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, value)
}

// lingerFor sets SO_LINGER, with 0 seconds so that close resets the connection.
func (s socket) lingerFor(seconds int) error {
	return windows.SetsockoptLinger(windows.Handle(s), windows.SOL_SOCKET, windows.SO_LINGER, &windows.Linger{Onoff: 1, Linger: int32(seconds)})
}

// lingerOff clears SO_LINGER, as it is on a new socket.
func (s socket) lingerOff() error {
	return windows.SetsockoptLinger(windows.Handle(s), windows.SOL_SOCKET, windows.SO_LINGER, &windows.Linger{})
}

func (s socket) bind(to netip.AddrPort) error { return windows.Bind(windows.Handle(s), sockaddr(to)) }

func (s socket) listen(backlog int) error { return windows.Listen(windows.Handle(s), backlog) }

// connect starts to connect; wait says when that has ended, and failure how.
func (s socket) connect(to netip.AddrPort) error {
	err := windows.Connect(windows.Handle(s), sockaddr(to))
	if err == windows.WSAEWOULDBLOCK {
		return nil
	}
	return err
}

// failure returns the error that the socket has had since the last call.
func (s socket) failure() error {
	code, err := windows.GetsockoptInt(windows.Handle(s), windows.SOL_SOCKET, soError)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	return err
}

// accept returns the next connection of a listener, or errNobody.
func (s socket) accept() (socket, error) {
	r, _, err := procAccept.Call(uintptr(s), 0, 0)
	if windows.Handle(r) == windows.InvalidHandle {
		if err == windows.WSAEWOULDBLOCK || err == windows.WSAECONNRESET {
			err = errNobody
		}
		return 0, err
	}
	return socket(r), socket(r).unblock()
}

// endOutput sends a FIN.
func (s socket) endOutput() error { return windows.Shutdown(windows.Handle(s), windows.SHUT_WR) }

// end reads, and returns the error; at the end of the stream there is none.
func (s socket) end() error {
	var b [1]byte
	if r, _, err := procRecv.Call(uintptr(s), uintptr(unsafe.Pointer(&b)), 1, 0); int32(r) < 0 {
		return err
	}
	return nil
}

func (s socket) local() (netip.AddrPort, error) {
	sa, err := windows.Getsockname(windows.Handle(s))
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *windows.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *windows.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("a socket's address is a %T", sa)
}

// fdSet and timeval are those of winsock2.h.
type fdSet struct {
	count   uint32
	sockets [64]windows.Handle
}

type timeval struct{ seconds, microseconds int32 }

// wait waits until the socket can be read from or written to, or has failed.
func (s socket) wait(what direction, limit time.Duration) (ready bool, err error) {
	only := func() *fdSet { return &fdSet{1, [64]windows.Handle{windows.Handle(s)}} }
	read, write, failed := only(), (*fdSet)(nil), only()
	if what == output {
		read, write = write, read
	}
	t := timeval{int32(limit / time.Second), int32(limit % time.Second / time.Microsecond)}
	r, _, err := procSelect.Call(0, uintptr(unsafe.Pointer(read)), uintptr(unsafe.Pointer(write)),
		uintptr(unsafe.Pointer(failed)), uintptr(unsafe.Pointer(&t)))
	if int32(r) < 0 {
		return false, err
	}
	return r > 0, nil
}

func sockaddr(to netip.AddrPort) windows.Sockaddr {
	if to.Addr().Is4() {
		return &windows.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &windows.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// isExhausted reports an error that is about this machine's resources.
func isExhausted(err error) bool { return err == windows.WSAEMFILE || err == windows.WSAENOBUFS }

// isInUse reports whether somebody else has the port.
func isInUse(err error) bool { return err == windows.WSAEADDRINUSE || err == windows.WSAEACCES }

// exclusiveOption is SO_EXCLUSIVEADDRUSE of winsock2.h, the complement of
// SO_REUSEADDR.
const (
	exclusiveOption = ^windows.SO_REUSEADDR
	exclusiveName   = "SO_EXCLUSIVEADDRUSE"
)

// keepToItself keeps every other socket from the port.
func (s socket) keepToItself() error {
	return windows.SetsockoptInt(windows.Handle(s), windows.SOL_SOCKET, exclusiveOption, 1)
}

// errnoName returns the name of a winsock error.
func errnoName(err error) string {
	if errno, ok := err.(syscall.Errno); ok {
		if name := winsockErrors[errno]; name != "" {
			return name
		}
		return fmt.Sprintf("error %d", uint(errno))
	}
	return err.Error()
}

var winsockErrors = map[syscall.Errno]string{
	windows.WSAEACCES:          "WSAEACCES",
	windows.WSAEADDRINUSE:      "WSAEADDRINUSE",
	windows.WSAEADDRNOTAVAIL:   "WSAEADDRNOTAVAIL",
	windows.WSAEAFNOSUPPORT:    "WSAEAFNOSUPPORT",
	windows.WSAEALREADY:        "WSAEALREADY",
	windows.WSAECONNABORTED:    "WSAECONNABORTED",
	windows.WSAECONNREFUSED:    "WSAECONNREFUSED",
	windows.WSAECONNRESET:      "WSAECONNRESET",
	windows.WSAEDESTADDRREQ:    "WSAEDESTADDRREQ",
	windows.WSAEFAULT:          "WSAEFAULT",
	windows.WSAEHOSTDOWN:       "WSAEHOSTDOWN",
	windows.WSAEHOSTUNREACH:    "WSAEHOSTUNREACH",
	windows.WSAEINPROGRESS:     "WSAEINPROGRESS",
	windows.WSAEINTR:           "WSAEINTR",
	windows.WSAEINVAL:          "WSAEINVAL",
	windows.WSAEISCONN:         "WSAEISCONN",
	windows.WSAEMFILE:          "WSAEMFILE",
	windows.WSAEMSGSIZE:        "WSAEMSGSIZE",
	windows.WSAENETDOWN:        "WSAENETDOWN",
	windows.WSAENETRESET:       "WSAENETRESET",
	windows.WSAENETUNREACH:     "WSAENETUNREACH",
	windows.WSAENOBUFS:         "WSAENOBUFS",
	windows.WSAENOPROTOOPT:     "WSAENOPROTOOPT",
	windows.WSAENOTCONN:        "WSAENOTCONN",
	windows.WSAENOTSOCK:        "WSAENOTSOCK",
	windows.WSAEOPNOTSUPP:      "WSAEOPNOTSUPP",
	windows.WSAEPFNOSUPPORT:    "WSAEPFNOSUPPORT",
	windows.WSAEPROTONOSUPPORT: "WSAEPROTONOSUPPORT",
	windows.WSAEPROTOTYPE:      "WSAEPROTOTYPE",
	windows.WSAESHUTDOWN:       "WSAESHUTDOWN",
	windows.WSAESOCKTNOSUPPORT: "WSAESOCKTNOSUPPORT",
	windows.WSAETIMEDOUT:       "WSAETIMEDOUT",
	windows.WSAEWOULDBLOCK:     "WSAEWOULDBLOCK",
}
