package natlab

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const tunPath = "/dev/net/tun"

// maxFrame is the longest frame: a TCP super-packet fills the 16-bit total length.
const maxFrame = vnetLen + 65535

// tun is the device through which a namespace exchanges frames with the lab.
type tun struct {
	file *os.File
	cut  atomic.Bool
	done chan struct{} // closed when pump has returned
}

// openTUN makes a device in the calling thread's namespace. With offload it carries TCP super-packets and unfinished
// checksums, which makes bulk transfers an order of magnitude cheaper; without, plain packets of at most the MTU.
func openTUN(name string, offload bool) (*tun, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("natlab: open %s: %w", tunPath, err)
	}
	if err := setupTUN(fd, name, offload); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("natlab: set up TUN device: %w", err)
	}
	return &tun{file: os.NewFile(uintptr(fd), tunPath), done: make(chan struct{})}, nil
}

func setupTUN(fd int, name string, offload bool) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return err
	}
	features := 0
	if offload {
		features = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	}
	return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, features)
}

// pump hands every frame that leaves the namespace to sink until the device is closed. The frame is sink's for the call only.
func (t *tun) pump(sink func(frame)) {
	defer close(t.done)
	buf := make([]byte, maxFrame)
	for {
		n, err := t.file.Read(buf)
		if err != nil {
			return
		}
		if !t.cut.Load() {
			sink(buf[:n])
		}
	}
}

// write sends a frame into the namespace. What the kernel refuses is lost, as on any network.
func (t *tun) write(f frame) {
	if !t.cut.Load() {
		t.file.Write(f)
	}
}

// close removes the device and waits for pump.
func (t *tun) close() {
	t.file.Close()
	<-t.done
}
