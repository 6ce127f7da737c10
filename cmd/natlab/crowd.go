package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// crowdClaims are about many connections.
func crowdClaims() []claim {
	return []claim{
		{"crowd", "1,000 connections at 100 per second, and 200 at once, through `-L` and `-D`: none is lost, and nothing of them is left in either peerd",
			nil, crowd},
	}
}

const crowdBytes = 20_000 // each way, on each connection

// crowd makes many connections, twice, and looks at what either peerd has left
// of them.
func crowd(ctx context.Context, g ground) (f finding, err error) {
	w, err := newWebWorld(ctx, g, cell{A: "user-drop", B: "linux-open", RTT: 20 * time.Millisecond})
	if err != nil {
		return f, err
	}
	defer w.close()
	total, atOnce := figure(g, 100, 1000), figure(g, 50, 200)
	for _, r := range w.routes[1:] { // the first connection may open files that stay open
		if err := echoed(ctx, r, 0, nil); err != nil {
			return f, err
		}
	}
	before, err := w.usage()
	if err != nil {
		return f, err
	}
	f.Table = &table{Head: []string{"after", "lost", "slowest, ms", "open files: connect, run", "resident MiB: connect, run"}}
	f.Table.Rows = append(f.Table.Rows, append([]string{"one connection each", "0", ""}, before.cells()...))
	var after usage
	made := 0
	for range 2 {
		for _, r := range w.routes[1:] {
			for _, burst := range []bool{false, true} {
				n, name := total, fmt.Sprintf("%d connections through %s, 100 per second", total, r.name)
				if burst {
					n, name = atOnce, fmt.Sprintf("%d connections through %s, at once", atOnce, r.name)
				}
				made += n
				slowest, lost := crowdOnce(ctx, r, n, burst)
				if after, err = w.settled(ctx, before); err != nil {
					return f, errors.Join(errors.Join(lost...), err)
				}
				f.Table.Rows = append(f.Table.Rows, append([]string{name, strconv.Itoa(len(lost)), fmt.Sprintf("%.0f", ms(slowest))}, after.cells()...))
				if len(lost) > 0 {
					return f, fmt.Errorf("%s: %d lost: %w", name, len(lost), lost[0])
				}
			}
		}
	}
	// What is still on its way between the two arrives before another
	// connection's end does.
	if err := echoed(ctx, w.routes[1], 0, nil); err != nil {
		return f, err
	}
	if err := after.near(before); err != nil {
		return f, err
	}
	left, err := w.goroutines()
	f.Text = fmt.Sprintf("none of %d connections lost; goroutines left in the end: %d in connect, %d in run", made, left[0], left[1])
	return f, err
}

// crowdOnce makes n connections, 100 per second or all at once, and returns how
// long the slowest took and an error for each that was lost. In a burst, each
// waits in the middle for all others.
func crowdOnce(ctx context.Context, r route, n int, burst bool) (slowest time.Duration, lost []error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var meeting *sync.WaitGroup
	if burst {
		meeting = new(sync.WaitGroup)
		meeting.Add(n)
	}
	errs, took := make([]error, n), make([]time.Duration, n)
	var all sync.WaitGroup
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for i := range n {
		if !burst {
			<-pace.C
		}
		all.Go(func() {
			began := time.Now()
			errs[i] = echoed(ctx, r, byte(i), meeting)
			took[i] = time.Since(began)
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			lost = append(lost, fmt.Errorf("connection %d: %w", i, err))
		}
	}
	return slices.Max(took), lost
}

// echoed sends random bytes over a connection of its own and wants them back.
// At a meeting it waits, half done, until the others are as far.
func echoed(ctx context.Context, r route, seed byte, meeting *sync.WaitGroup) (err error) {
	arrive := func() {}
	if meeting != nil {
		arrive = sync.OnceFunc(meeting.Done)
	}
	defer arrive()
	c, err := dialUntil(ctx, r, "echo.test:80")
	if err != nil {
		return err
	}
	defer c.Close()
	sent := randomBytes(seed, crowdBytes)
	half, rest := sent[:crowdBytes/2], sent[crowdBytes/2:]
	if _, err := c.Write(half); err != nil {
		return err
	}
	got := make([]byte, len(half))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, half) {
		return errors.Join(errors.New("the first half has not come back"), err)
	}
	if arrive(); meeting != nil {
		meeting.Wait()
	}
	if _, err := c.Write(rest); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return readExactly(c, rest)
}

// usage is what the two peerd processes hold: connect and run.
type usage struct {
	files, rss [2]int // descriptors, and MiB
}

func (u usage) cells() []string {
	return []string{fmt.Sprintf("%d, %d", u.files[0], u.files[1]), fmt.Sprintf("%d, %d", u.rss[0], u.rss[1])}
}

// maxGrowth is by how many MiB a process may have grown after it is all over: Go
// gives memory back late. A leak of a buffer for each connection is more.
const maxGrowth = 40

// near wants about as much memory as before.
func (u usage) near(before usage) error {
	for i, rss := range u.rss {
		if rss > before.rss[i]+maxGrowth {
			return fmt.Errorf("memory is left: %v MiB resident instead of %v, in connect and run", u.rss, before.rss)
		}
	}
	return nil
}

func (w *webWorld) processes() [2]*natlab.Cmd { return [2]*natlab.Cmd{w.connect.cmd, w.runs} }

func (w *webWorld) usage() (u usage, err error) {
	for i, p := range w.processes() {
		dir := fmt.Sprintf("/proc/%d/", p.Process.Pid)
		files, err := os.ReadDir(dir + "fd")
		if err != nil {
			return u, err
		}
		u.files[i] = len(files)
		if u.rss[i], err = resident(p); err != nil {
			return u, err
		}
	}
	return u, nil
}

// resident is how much memory a process has, in MiB.
func resident(p *natlab.Cmd) (mib int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Process.Pid))
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscan(string(status), new(int), &mib); err != nil {
		return 0, err
	}
	return mib * os.Getpagesize() >> 20, nil
}

// settleLimit is how long the last connection's descriptors may take to go.
const settleLimit = 5 * time.Second

// settled waits until both processes have no more descriptors than before.
func (w *webWorld) settled(ctx context.Context, before usage) (u usage, err error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(settleLimit)
	for {
		u, err := w.usage()
		if err != nil || u.files[0] <= before.files[0] && u.files[1] <= before.files[1] {
			return u, err
		}
		select {
		case <-tick.C:
		case <-limit:
			return u, fmt.Errorf("descriptors are left: connect has %d instead of %d, run %d instead of %d", u.files[0], before.files[0], u.files[1], before.files[1])
		case <-ctx.Done():
			return u, ctx.Err()
		}
	}
}

// maxIdleGoroutines is more than a peerd has without connections; a leak of
// one for each connection is more than that.
const maxIdleGoroutines = 40

// goroutines ends both processes and counts what the Go runtime tells of them.
func (w *webWorld) goroutines() (n [2]int, err error) {
	for i, p := range w.processes() {
		if err := p.Process.Signal(syscall.SIGQUIT); err != nil {
			return n, err
		}
		said := w.connect.said
		if p == w.runs {
			said = w.runsSaid
		}
		p.Wait()
		text := said.String()
		if n[i] = strings.Count(text, "\ngoroutine "); n[i] == 0 {
			return n, fmt.Errorf("peerd told nothing of its goroutines: %q", text)
		}
		if n[i] > maxIdleGoroutines {
			return n, fmt.Errorf("%d goroutines are left in %s: %s", n[i], p.Args[1], whereabouts(text))
		}
	}
	return n, nil
}

// whereabouts says where in our code how many goroutines of a dump are.
func whereabouts(dump string) string {
	at := make(map[string]int)
	for _, goroutine := range strings.Split(dump, "\ngoroutine ")[1:] {
		for line := range strings.Lines(goroutine) {
			if name, ours := strings.CutPrefix(line, "github.com/peerd/peerd/"); ours {
				at[strings.TrimSpace(name[:strings.LastIndex(name, "(")])]++
				break
			}
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(at)) {
		list = append(list, fmt.Sprintf("%d in %s", at[name], name))
	}
	return strings.Join(list, ", ")
}
