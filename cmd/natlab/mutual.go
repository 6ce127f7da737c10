package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// mutualClaims are about two peers that both connect.
func mutualClaims() []claim {
	return []claim{
		{"both connect", "`peerd connect` on both sides to each other, with no `peerd run` anywhere and started up to 3 s apart, makes one session over one connection, which carries the forwards of both",
			nil, bothConnect},
	}
}

// skews are the times by which B starts after A; negative ones, A after B.
var skews = []time.Duration{
	0, 300 * time.Millisecond, -time.Second,
	0, 5 * time.Millisecond, -5 * time.Millisecond, 20 * time.Millisecond, -20 * time.Millisecond, 60 * time.Millisecond, -60 * time.Millisecond,
	150 * time.Millisecond, -150 * time.Millisecond, -300 * time.Millisecond, 700 * time.Millisecond, -700 * time.Millisecond,
	time.Second, 2 * time.Second, -2 * time.Second, 3 * time.Second, -3 * time.Second,
}

// bothConnect starts both ends of each session anew, in one lab.
func bothConnect(ctx context.Context, g ground) (f finding, err error) {
	m, err := newMutual(ctx, g, cell{A: "linux-open", B: "user-drop", RTT: 40 * time.Millisecond})
	if err != nil {
		return f, err
	}
	defer m.close()
	runs := skews[:figure(g, 3, len(skews))]
	good := 0
	var bad []error
	for _, skew := range runs {
		if err := m.meet(ctx, skew); err != nil {
			bad = append(bad, fmt.Errorf("with B %v after A: %w", skew, err))
			continue
		}
		good++
	}
	return finding{Text: fmt.Sprintf("one session in %d of %d", good, len(runs))}, errors.Join(bad...)
}

// mutual is a world in which nothing but the server runs.
type mutual struct {
	*world
	sides [2]*side
	echos []net.Listener
}

func (m *mutual) close() {
	m.lab.Close()
	for _, l := range m.echos {
		l.Close()
	}
}

// side is one of the two peers.
type side struct {
	host      *natlab.Host
	state, id string
	far       netip.Addr // the other side's NAT
	connect   *connect
}

const (
	echoAddr  = "127.0.0.1:9006"
	localAddr = "127.0.0.1:7001" // leads to the echo of the other side, by -L here
	farAddr   = "127.0.0.1:7002" // leads to the echo of the other side, by -R there
)

// newMutual makes both identities; either side exposes an echo, and permits the
// other one to listen.
func newMutual(ctx context.Context, g ground, c cell) (m *mutual, err error) {
	m = &mutual{}
	if m.world, err = newServedWorld(ctx, g.peerd, g.dir, c); err != nil {
		return nil, err
	}
	m.sides = [2]*side{
		{host: m.lab.A, state: "a", far: m.lab.B.PublicAddr()},
		{host: m.lab.B, state: "b", far: m.lab.A.PublicAddr()},
	}
	if err := m.prepare(ctx); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *mutual) prepare(ctx context.Context) (err error) {
	for _, s := range m.sides {
		if s.id, err = m.id(ctx, s.host, s.state); err != nil {
			return err
		}
	}
	for n, s := range m.sides {
		err := errors.Join(
			m.configure(s.state, "config.toml", fmt.Sprintf("expose = [%q]\n", "echo="+echoAddr)),
			m.configure(s.state, "authorized_peers", fmt.Sprintf("permit-listen=%q,permit-open=\"echo\" %s other\n", farAddr, m.sides[1-n].id)),
		)
		if err != nil {
			return err
		}
		l, err := s.host.Listen(echoAddr)
		if err != nil {
			return err
		}
		m.echos = append(m.echos, l)
		go accepting(serveEcho)(l) // until close
	}
	return nil
}

// meet has both connect, and looks at what has become of it.
func (m *mutual) meet(ctx context.Context, skew time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	starts := [2]time.Duration{max(0, -skew), max(0, skew)}
	err := atOnce(2, func(n int) error {
		time.Sleep(starts[n]) // this is the experiment, not a wait for something
		return m.start(ctx, m.sides[n], m.sides[1-n].id)
	})
	if err == nil {
		err = m.inspect(ctx)
	}
	return errors.Join(err, m.stop())
}

func (m *mutual) start(ctx context.Context, s *side, peer string) (err error) {
	s.connect, err = m.startConnect(ctx, s.host, s.state, peer, "-L", localAddr+":echo", "-R", farAddr+":"+echoAddr)
	return err
}

// inspect uses the forwards of both, and wants one connection, the same before
// and after.
func (m *mutual) inspect(ctx context.Context) error {
	if err := m.useForwards(ctx); err != nil {
		return err
	}
	before, err := m.onlyConnections(ctx)
	if err != nil {
		return err
	}
	if err := m.useForwards(ctx); err != nil {
		return err
	}
	after, err := m.onlyConnections(ctx)
	if err == nil && before != after {
		err = fmt.Errorf("the connection was %v and has become %v", before, after)
	}
	for _, s := range m.sides {
		if n := strings.Count("\n"+s.connect.said.String(), "\npath "); n != 1 {
			err = errors.Join(err, fmt.Errorf("%s has had %d paths: %s", s.host.Name(), n, s.connect.said))
		}
	}
	return err
}

// useForwards sends some bytes through the forwards of both sides.
func (m *mutual) useForwards(ctx context.Context) error {
	return atOnce(4, func(n int) error {
		host, addr := m.sides[n%2].host, localAddr
		if n >= 2 {
			addr = farAddr
		}
		r := route{dial: func(ctx context.Context, _ string) (net.Conn, error) { return host.Dial(ctx, addr) }}
		if err := echoed(ctx, r, byte(n), nil); err != nil {
			return fmt.Errorf("through %s on %s: %w", addr, host.Name(), err)
		}
		return nil
	})
}

// onlyConnections waits until each side has one established connection to the
// other's NAT, and returns the addresses at A and B.
func (m *mutual) onlyConnections(ctx context.Context) (addrs [2]netip.AddrPort, err error) {
	for n, s := range m.sides {
		if addrs[n], err = s.onlyConnection(ctx); err != nil {
			return addrs, err
		}
	}
	return addrs, nil
}

func (s *side) onlyConnection(ctx context.Context) (netip.AddrPort, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(settleLimit)
	for {
		list, err := established(s.host, s.far)
		if err != nil || len(list) == 1 {
			return append(list, netip.AddrPort{})[0], err
		}
		select {
		case <-tick.C:
		case <-limit:
			return netip.AddrPort{}, fmt.Errorf("%s has %d connections to its peer: %v", s.host.Name(), len(list), list)
		case <-ctx.Done():
			return netip.AddrPort{}, ctx.Err()
		}
	}
}

// stop ends both. SIGTERM is how connect ends.
func (m *mutual) stop() (err error) {
	for _, s := range m.sides {
		if s.connect == nil {
			continue
		}
		s.connect.cmd.Process.Signal(syscall.SIGTERM)
		s.connect.cmd.Wait()
		if code := s.connect.cmd.ProcessState.ExitCode(); code != exitTerminated {
			err = errors.Join(err, fmt.Errorf("connect on %s has ended with %d: %s", s.host.Name(), code, s.connect.said))
		}
		s.connect = nil
	}
	return err
}
