package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// timeWaitClaims are about connections that have ended, which the kernel keeps
// for a minute on the side that ended first.
func timeWaitClaims() []claim {
	return []claim{
		{"TIME_WAIT", "TIME_WAIT on the 4-tuple that a node wants, to the server or to its peer, is taken over at once where the connection had TCP timestamps. Without them the node waits for the server until the minute is over, takes no other port meanwhile, and says so; and meets its peer, at a spare port, within seconds",
			nil, showTimeWait},
	}
}

const (
	// timeWaitTime is Linux's TCP_TIMEWAIT_LEN.
	timeWaitTime = time.Minute
	// timeWaitLimit is when a node is registered at last: a failed attempt is made
	// again within 30 s.
	timeWaitLimit = timeWaitTime + 31*time.Second
	// spareTime is a quarter of a plan, when it comes to spare ports: who connects
	// sooner has not had TIME_WAIT in his way.
	spareTime = 3 * time.Second
	// spareLimit is long before the minute is over.
	spareLimit = 30 * time.Second
)

// showTimeWait makes it for real, on the host of peerd run.
func showTimeWait(ctx context.Context, g ground) (f finding, err error) {
	w, err := newRestarts(ctx, g, cell{A: "public", B: "linux-drop", RTT: 40 * time.Millisecond})
	if err != nil {
		return f, err
	}
	defer w.close()
	f.Table = &table{Head: []string{"TIME_WAIT towards", "timestamps", "registered after, s", "connected again after, s", "it says"}}
	for _, timestamps := range []bool{true, false} {
		if err := setTimestamps(w.lab.B, timestamps); err != nil {
			return f, err
		}
		for _, towards := range []struct {
			name string
			try  func(context.Context, *restarts, *timeWaited) error
		}{{"the peer", overPeersTimeWait}, {"the server", overServersTimeWait}} {
			t := timeWaited{timestamps: timestamps, whole: g.whole}
			if err := towards.try(ctx, w, &t); err != nil {
				return f, fmt.Errorf("towards %s, timestamps %t: %w; it said %s", towards.name, timestamps, err, w.run.said)
			}
			f.Table.Rows = append(f.Table.Rows, t.row(towards.name))
			if timestamps {
				f.Text += fmt.Sprintf("towards %s, with timestamps: %.0f ms. ", towards.name, ms(max(t.registered, t.connected)))
			}
		}
	}
	return f, nil
}

// timeWaited is what came of one TIME_WAIT.
type timeWaited struct {
	timestamps, whole     bool
	registered, connected time.Duration // 0: not waited for
	says                  string
}

func (t *timeWaited) row(towards string) []string {
	seconds := func(d time.Duration) string {
		if d == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f", d.Seconds())
	}
	on := map[bool]string{true: "on", false: "off"}[t.timestamps]
	return []string{towards, on, seconds(t.registered), seconds(t.connected), t.says}
}

// setTimestamps is for the connections that a host makes from now on.
func setTimestamps(h *natlab.Host, on bool) error {
	value := map[bool]string{true: "1", false: "0"}[on]
	return h.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/tcp_timestamps", []byte(value), 0) })
}

// overPeersTimeWait has a connection between the ports of both peers end at run's
// side first, while neither runs. Peers do not leave that to each other: who hears
// of the end of a session has its last word, which meets a closed socket.
func overPeersTimeWait(ctx context.Context, w *restarts, t *timeWaited) error {
	ctx, cancel := context.WithTimeout(ctx, 2*timeWaitLimit)
	defer cancel()
	if err := errors.Join(kill(w.run.cmd), kill(w.connect.cmd)); err != nil {
		return err
	}
	if err := w.leaveBetweenPeers(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := errors.Join(w.start(ctx, w.run), w.start(ctx, w.connect), w.run.awaitRegistered(ctx)); err != nil {
		return err
	}
	t.registered = time.Since(began)
	if err := w.awaitEcho(ctx); err != nil {
		return err
	}
	t.connected = time.Since(began)
	if !t.timestamps {
		return t.between(t.connected, spareTime, spareLimit)
	}
	return t.atOnce(t.connected)
}

// leaveBetweenPeers leaves TIME_WAIT on run's side.
func (w *restarts) leaveBetweenPeers(ctx context.Context) error {
	at := netip.AddrPortFrom(w.lab.A.Addr(), w.connect.port)
	l, err := w.lab.A.Listen(at.String())
	if err != nil {
		return err
	}
	defer l.Close()
	go accepting(serveEcho)(l)
	return w.leaveTimeWait(ctx, at)
}

// atOnce wants that a time is short.
func (t *timeWaited) atOnce(took time.Duration) error {
	if t.whole {
		return t.between(took, 0, 2*time.Second)
	}
	return t.between(took, 0, sampleRestartLimit)
}

func (t *timeWaited) between(took, least, most time.Duration) error {
	if took < least || took > most {
		return fmt.Errorf("it took %v, not between %v and %v", took, least, most)
	}
	return nil
}

// overServersTimeWait has a connection from run's port to the server end here
// first, while run does not run.
func overServersTimeWait(ctx context.Context, w *restarts, t *timeWaited) error {
	ctx, cancel := context.WithTimeout(ctx, 2*timeWaitLimit)
	defer cancel()
	if err := kill(w.run.cmd); err != nil {
		return err
	}
	if err := w.leaveTimeWait(ctx, w.registry()); err != nil {
		return err
	}
	began := time.Now()
	if err := w.start(ctx, w.run); err != nil {
		return err
	}
	if !t.timestamps {
		if err := w.awaitComplaint(ctx, t); err != nil || !t.whole {
			return err
		}
	}
	if err := w.run.awaitRegistered(ctx); err != nil {
		return err
	}
	t.registered = time.Since(began)
	if !t.timestamps {
		return t.between(t.registered, timeWaitTime-5*time.Second, timeWaitLimit)
	}
	return t.atOnce(t.registered)
}

// awaitComplaint waits until run says what it waits for.
func (w *restarts) awaitComplaint(ctx context.Context, t *timeWaited) error {
	const says = "this host still holds a connection from port 41000"
	err := w.run.said.await(ctx, func(text string) bool { return strings.Contains(text, says) && strings.HasSuffix(text, "\n") })
	if err == nil {
		_, t.says, _ = strings.Cut(strings.SplitN(w.run.said.String(), "\n", 2)[0], "msg=")
	}
	return err
}

// leaveTimeWait has run's host in TIME_WAIT towards an address: it makes a
// connection from run's port, as a node has it, and closes it first. On a busy
// machine the other end may be faster.
func (w *restarts) leaveTimeWait(ctx context.Context, to netip.AddrPort) (err error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{Port: int(w.run.port)}, Control: sharePort}
	for range 5 {
		err = w.run.host.Do(func() error {
			c, err := d.DialContext(ctx, "tcp4", to.String())
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err != nil {
			return err
		}
		soon, cancel := context.WithTimeout(ctx, 2*time.Second)
		err = w.run.awaitSocket(soon, to, tcpTimeWait, 0)
		cancel()
		if err == nil {
			break
		}
	}
	return err
}
