package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// What a person who types waits for, while the same session moves a file: the
// echo of one byte, alone and beside a bulk stream that has the path filled.

const (
	// echoMore is how much longer an echo may wait beside bulk: most of it may be
	// the path's own queue, which is one bandwidth-delay product.
	echoMore = 30 * time.Millisecond
	// bulkShare is what bulk must have of the path meanwhile, in bytes of its own.
	bulkShare = 0.9
)

// echoClaims are about streams beside one another.
func echoClaims() []claim {
	return []claim{
		{"echo beside bulk", "on a path of 100 Mbit/s and 20 ms an echo waits at most 30 ms more beside a bulk stream of its session, in either direction, which still has 90 % of the path",
			nil, showEcho},
	}
}

// echoFigures are one direction's.
type echoFigures struct {
	way           string
	alone, beside []time.Duration // sorted
	queue         time.Duration   // that another connection of the sender's host waited more, at the median
	share         float64         // of the path, that bulk had
}

// percentile returns the p-th part of sorted times.
func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[int(p*float64(len(sorted)-1)+0.5)]
}

// more is how much longer the median echo took beside bulk.
func (f echoFigures) more() time.Duration {
	return percentile(f.beside, 0.5) - percentile(f.alone, 0.5)
}

func (f echoFigures) check() error {
	if more := f.more(); more > echoMore {
		return fmt.Errorf("bulk %s: an echo waits %.1f ms more beside it, at most %v may be", f.way, ms(more), echoMore)
	}
	if f.share < bulkShare {
		return fmt.Errorf("bulk %s: it has %.0f %% of the path beside echoes, at least %.0f %% must be", f.way, 100*f.share, 100*bulkShare)
	}
	return nil
}

// echoWays are the directions of bulk.
var echoWays = []string{"A to B", "B to A"}

// showEcho measures both directions. A sample shares the machine with other
// tests, so it judges no times: it shows that the measurement works.
func showEcho(ctx context.Context, g ground) (f finding, err error) {
	w, err := newEchoWorld(ctx, g, echoPath)
	if err != nil {
		return f, err
	}
	defer w.close()
	f.Table = &table{Head: []string{"bulk", "echo alone: median, ms", "95 %", "beside bulk: median, ms", "95 %", "more: median, ms", "of which in the path's queue", "bulk has of the path"}}
	var failed []error
	for i, way := range echoWays {
		figures, err := w.measure(ctx, i == 1, figure(g, 60, 300))
		if err != nil {
			return f, err
		}
		if g.whole {
			failed = append(failed, figures.check())
		}
		row := []string{way}
		for _, d := range []time.Duration{percentile(figures.alone, 0.5), percentile(figures.alone, 0.95), percentile(figures.beside, 0.5), percentile(figures.beside, 0.95), figures.more(), figures.queue} {
			row = append(row, fmt.Sprintf("%.1f", ms(d)))
		}
		f.Table.Rows = append(f.Table.Rows, append(row, fmt.Sprintf("%.1f %%", 100*figures.share)))
		f.Text += fmt.Sprintf("bulk %s: %+.1f ms, %.1f of them in the path's queue; %.0f %% of the path. ", way, ms(figures.more()), ms(figures.queue), 100*figures.share)
	}
	return f, errors.Join(failed...)
}

// echoWorld is a world with an echo and a bulk server on B, and a session.
type echoWorld struct {
	*tunnelWorld
	echo, bulk net.Listener
	other      net.Listener // an echo on the server's host
	serving    sync.WaitGroup
}

// echoPath is what the figures are for.
var echoPath = cell{A: "linux-drop", B: "user-drop", RTT: 20 * time.Millisecond, Rate: 100e6}

func newEchoWorld(ctx context.Context, g ground, path cell) (w *echoWorld, err error) {
	w = &echoWorld{}
	if w.tunnelWorld, err = newTunnelWorld(ctx, g, path, 2); err != nil {
		return nil, err
	}
	if err := w.serve(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *echoWorld) serve(ctx context.Context) (err error) {
	if w.echo, err = w.lab.B.Listen(w.links[0].listenAt); err != nil {
		return err
	}
	if w.bulk, err = w.lab.B.Listen(w.links[1].listenAt); err != nil {
		return err
	}
	if w.other, err = w.lab.Server.Listen(netip.AddrPortFrom(w.lab.Server.Addr(), 0).String()); err != nil {
		return err
	}
	for _, l := range []net.Listener{w.echo, w.other} {
		w.serving.Go(func() { accepting(serveEcho)(l) })
	}
	return w.connect(ctx)
}

func (w *echoWorld) close() {
	w.lab.Close()
	for _, l := range []net.Listener{w.echo, w.bulk, w.other} {
		if l != nil {
			l.Close()
		}
	}
	w.serving.Wait()
}

// measure takes n echoes alone, and n beside bulk.
func (w *echoWorld) measure(ctx context.Context, fromB bool, n int) (f echoFigures, err error) {
	f.way = echoWays[0]
	if fromB {
		f.way = echoWays[1]
	}
	echo, err := w.lab.A.Dial(ctx, w.links[0].dialAddr)
	if err != nil {
		return f, err
	}
	defer echo.Close()
	defer context.AfterFunc(ctx, func() { echo.Close() })()
	if _, err := echoes(echo, 5); err != nil { // the stream is open
		return f, err
	}
	if f.alone, err = echoes(echo, n); err != nil {
		return f, err
	}
	other, err := w.dialOther(ctx, fromB)
	if err != nil {
		return f, err
	}
	defer other.Close()
	defer context.AfterFunc(ctx, func() { other.Close() })()
	otherAlone, err := echoes(other, n)
	if err != nil {
		return f, err
	}
	b, err := w.startBulk(ctx, fromB, 0)
	if err != nil {
		return f, err
	}
	defer b.stop()
	if err := b.settle(ctx, 3*echoPath.Rate/8); err != nil { // of three seconds: TCP has found the rate
		return f, err
	}
	before, began := b.received.Load(), time.Now()
	if f.beside, err = echoes(echo, n); err != nil {
		return f, err
	}
	f.share = float64(b.received.Load()-before) * 8 / time.Since(began).Seconds() / float64(echoPath.Rate)
	otherBeside, err := echoes(other, n)
	if err != nil {
		return f, err
	}
	f.queue = percentile(otherBeside, 0.5) - percentile(otherAlone, 0.5)
	return f, nil
}

// dialOther connects the host that sends bulk to an echo on the server's host: the
// way there waits in the same queue, and knows nothing of peerd.
func (w *echoWorld) dialOther(ctx context.Context, fromB bool) (net.Conn, error) {
	from := w.lab.A
	if fromB {
		from = w.lab.B
	}
	return from.Dial(ctx, w.other.Addr().String())
}

// echoes measures n times how long a byte takes there and back, and sorts.
func echoes(c net.Conn, n int) (times []time.Duration, err error) {
	b := []byte{'!'}
	for range n {
		began := time.Now()
		if _, err := c.Write(b); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, b); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
		time.Sleep(time.Duration(len(times)%10) * time.Millisecond) // not in step with anything
	}
	slices.Sort(times)
	return times, nil
}

// bulk is a stream that is kept full.
type bulk struct {
	from, to       net.Conn
	sent, received atomic.Int64
	running        sync.WaitGroup
}

// startBulk fills a stream. Its reader takes some bytes per second, or with 0 as
// many as come.
func (w *echoWorld) startBulk(ctx context.Context, fromB bool, slow int) (*bulk, error) {
	near, err := w.lab.A.Dial(ctx, w.links[1].dialAddr)
	if err != nil {
		return nil, err
	}
	far, err := w.bulk.Accept()
	if err != nil {
		near.Close()
		return nil, err
	}
	b := &bulk{from: near, to: far}
	if fromB {
		b.from, b.to = far, near
	}
	b.running.Go(func() {
		for buf := make([]byte, 64<<10); ; {
			n, err := b.from.Write(buf)
			b.sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	b.running.Go(func() {
		buf := make([]byte, 256<<10)
		if slow > 0 {
			buf = buf[:slow/10]
		}
		for {
			n, err := b.to.Read(buf)
			b.received.Add(int64(n))
			if err != nil {
				return
			}
			if slow > 0 {
				time.Sleep(time.Second / 10)
			}
		}
	})
	return b, nil
}

// settle waits until bulk has moved so many bytes.
func (b *bulk) settle(ctx context.Context, first int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for b.received.Load() < first {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("bulk has moved %d bytes only: %w", b.received.Load(), ctx.Err())
		}
	}
	return nil
}

// stall waits until the sender gets rid of no more than so many bytes per second,
// because everything between it and a slow reader is full.
func (b *bulk) stall(ctx context.Context, rate int64) error {
	for {
		before := b.sent.Load()
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("nothing stops the sender: %w", ctx.Err())
		}
		if b.sent.Load()-before <= rate {
			return nil
		}
	}
}

// speed is how many bits arrive per second, at the best of some times: others may
// use the machine.
func (b *bulk) speed() (best float64) {
	for range 5 {
		began, before := time.Now(), b.received.Load()
		time.Sleep(600 * time.Millisecond)
		best = max(best, float64(b.received.Load()-before)*8/time.Since(began).Seconds())
	}
	return best
}

func (b *bulk) stop() {
	b.from.Close()
	b.to.Close()
	b.running.Wait()
}
