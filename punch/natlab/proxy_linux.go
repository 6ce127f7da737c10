package natlab

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// proxyPort is where a terminating router accepts what its hosts send to anybody.
const proxyPort = 1

// proxy is a router in which TCP ends, as behind slirp or vpnkit: it accepts every connection from inside at once, then dials by
// itself from a random port and copies bytes. A dial that fails becomes a RST.
type proxy struct {
	box *box
	l   net.Listener

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu  sync.Mutex
	rng *rand.Rand
}

func newProxy(b *box) (*proxy, error) {
	p := &proxy{box: b, rng: rand.New(rand.NewPCG(b.site.seed.Uint64(), 0))}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p, b.router.do(func() (err error) {
		p.l, err = net.Listen("tcp4", netip.AddrPortFrom(b.lan.Addr(), proxyPort).String())
		return err
	})
}

func (p *proxy) start() { p.tasks.Go(p.accept) }

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.serve(c.(*net.TCPConn)) })
	}
}

// serve carries one connection to where the host wanted it.
func (p *proxy) serve(inside *net.TCPConn) {
	defer inside.Close()
	to, err := originalDestination(inside)
	if err != nil {
		return
	}
	outside, err := p.dialFor(inside, to)
	if err != nil {
		inside.SetLinger(0)
		return
	}
	defer outside.Close()
	defer context.AfterFunc(p.ctx, func() { abort(inside); abort(outside) })()
	var back sync.WaitGroup
	back.Go(func() { pass(inside, outside) })
	pass(outside, inside)
	back.Wait()
}

// pass copies one direction with its end: a FIN, or a RST of everything.
func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		abort(to)
		abort(from)
		return
	}
	to.CloseWrite()
}

func abort(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// dialFor dials for as long as the host wants the connection.
func (p *proxy) dialFor(inside *net.TCPConn, to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancel(p.ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		awaitReset(inside)
		cancel()
	})
	outside, err := p.dial(ctx, to)
	inside.SetReadDeadline(time.Unix(1, 0)) // ends the watch
	watch.Wait()
	inside.SetReadDeadline(time.Time{})
	return outside, err
}

// awaitReset waits until nothing of a connection is left, read or unread, or for its
// deadline.
func awaitReset(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		return err != nil || info.State == tcpClose
	})
}

const tcpClose = 7 // linux/tcp_states.h

// dial connects from a random port that is free.
func (p *proxy) dial(ctx context.Context, to netip.AddrPort) (c *net.TCPConn, err error) {
	err = p.box.router.do(func() error {
		for range 16 {
			p.mu.Lock()
			port := firstPort + p.rng.IntN(portCount)
			p.mu.Unlock()
			d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
			conn, e := d.DialContext(ctx, "tcp4", to.String())
			if err = e; err == nil {
				c = conn.(*net.TCPConn)
			}
			if !errors.Is(err, syscall.EADDRINUSE) {
				return err
			}
		}
		return err
	})
	return c, err
}

// originalDestination is where a redirected connection was going.
func originalDestination(c *net.TCPConn) (to netip.AddrPort, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return to, err
	}
	var sa unix.RawSockaddrInet4
	size := uint32(unsafe.Sizeof(sa))
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		const originalDst = 80 // SO_ORIGINAL_DST (linux/netfilter_ipv4.h)
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_IP, originalDst,
			uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(port[0])<<8|uint16(port[1])), err
}

// close ends all connections and waits.
func (p *proxy) close() {
	p.cancel()
	if p.l != nil {
		p.l.Close()
	}
	p.tasks.Wait()
}
