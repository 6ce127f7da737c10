package natlab

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// snap is how much of each packet a capture keeps: the headers.
const snap = 128

// captureBuffer is large enough for a burst of some thousand small packets. Bulk transfers may overflow it.
const captureBuffer = 4 << 20

// Capture records the TCP and ICMP packets of a host, before its NAT. Its methods are safe for concurrent use.
type Capture struct {
	host *Host
	file *os.File
	done chan struct{}

	mu      sync.Mutex
	packets []Packet
	closed  bool
}

// Capture starts to record what leaves (Sent) and enters (Delivered) the host's interface. The caller closes it; the lab's
// Close does so, too.
func (h *Host) Capture() (*Capture, error) {
	c := &Capture{host: h, done: make(chan struct{})}
	if err := h.ns.run(c.open); err != nil {
		return nil, err
	}
	go c.run()
	if err := adopt(h, &h.captures, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Capture) open() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("natlab: open a capture: %w", err)
	}
	if err := setupCapture(fd); err != nil {
		unix.Close(fd)
		return fmt.Errorf("natlab: set up a capture: %w", err)
	}
	c.file = os.NewFile(uintptr(fd), "capture")
	return nil
}

func setupCapture(fd int) error {
	// Only root in the first user namespace may exceed the machine's limit; a smaller buffer works, too.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return err
	}
	dev, err := deviceIndex(hostDevice)
	if err != nil {
		return err
	}
	// Only a capture of all protocols sees what leaves.
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: dev})
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// run drains the socket until it is closed.
func (c *Capture) run() {
	defer close(c.done)
	conn, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	conn.Read(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drainLocked(int(fd))
		return false
	})
}

// Packets returns what was captured up to now, in order.
func (c *Capture) Packets() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn, err := c.file.SyscallConn(); err == nil && !c.closed {
		conn.Control(func(fd uintptr) { c.drainLocked(int(fd)) })
	}
	return slices.Clone(c.packets)
}

// Close ends the capture. What was captured stays readable.
func (c *Capture) Close() error {
	c.Packets()
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if !closed {
		c.file.Close()
		release(c.host, &c.host.captures, c)
	}
	<-c.done
	return nil
}

// drainLocked reads until the socket is empty.
func (c *Capture) drainLocked(fd int) {
	buf, oob := make(frame, vnetLen+snap), make([]byte, 128)
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, buf[vnetLen:], oob, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		c.addLocked(buf, n, oob[:oobn], from)
	}
}

// addLocked notes a packet of n bytes of which the beginning is in f.
func (c *Capture) addLocked(f frame, n int, oob []byte, from unix.Sockaddr) {
	p, ok := parseSnap(f, n)
	if !ok {
		return
	}
	e := Delivered
	if sll, ok := from.(*unix.SockaddrLinklayer); ok && sll.Pkttype == unix.PACKET_OUTGOING {
		e = Sent
	}
	o := observe(kernelTime(oob), c.host.name, e, &p)
	c.packets = append(c.packets, o)
}

// parseSnap parses a packet whose end may have been cut off.
func parseSnap(f frame, n int) (packet, bool) {
	if n <= snap {
		return parse(f[:vnetLen+n])
	}
	whole := make(frame, vnetLen+n)
	copy(whole, f)
	return parse(whole)
}

// kernelTime is the time at which the kernel saw the packet.
func kernelTime(oob []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}
