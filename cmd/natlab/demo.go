package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
)

// demoOptions is what the demo command is told on its command line.
type demoOptions struct {
	natA, natB string
	rtt, late  time.Duration
	rate       bitRate
	size       byteSize
}

func newDemoCommand() *cobra.Command {
	o := demoOptions{size: 16 << 20}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show two hosts behind NATs connect directly, step by step",
		Long: `Show two hosts behind NATs connect directly, step by step, on real TCP sockets: what
the NATs were measured to do, that a plain dial fails, the fate of every SYN of the
punching, the connection and who has proven what, and a file sent both ways.

Host B is held up for a moment (--late) after its introduction, as a busy machine or
a slow link would, so that the first SYNs come too early. The exit code is 0 only if
all held.`,
		Example: "  natlab demo\n  natlab demo --a openwrt --b user-drop --rtt 200ms --late 0\n  natlab profiles",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := labConfig(cmd, o.natA, o.natB)
			if err != nil {
				return err
			}
			cfg.RTT, cfg.Rate = o.rtt, int64(o.rate)
			return runDemo(cmd.Context(), o, cfg, newNarrator(cmd.OutOrStdout()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.natA, "a", "linux-open", "`PROFILE` of the NAT in front of host A")
	f.StringVar(&o.natB, "b", "user-icmp", "`PROFILE` of the NAT in front of host B")
	f.DurationVar(&o.rtt, "rtt", 40*time.Millisecond, "round trip between A and B")
	f.Var(&o.rate, "rate", "`RATE` such as 100Mbit at which A and B can each send (default unlimited)")
	f.DurationVar(&o.late, "late", 100*time.Millisecond, "how long B is held up after its introduction")
	f.Var(&o.size, "size", "`SIZE` of the file that is sent each way")
	return cmd
}

// labConfig looks the profiles up.
func labConfig(cmd *cobra.Command, a, b string) (cfg natlab.Config, err error) {
	if cfg.A, err = natlab.ProfileByName(a); err != nil {
		return cfg, &usageError{cmd, err.Error()}
	}
	if cfg.B, err = natlab.ProfileByName(b); err != nil {
		return cfg, &usageError{cmd, err.Error()}
	}
	return cfg, nil
}

// demo is one showing.
type demo struct {
	demoOptions
	*narrator
	stage *stage
	a, b  *actor
	nats  [2]natlab.Behaviour
}

// runDemo shows everything, and returns nil only if everything held.
func runDemo(ctx context.Context, o demoOptions, cfg natlab.Config, n *narrator) error {
	s, err := newStage(cfg)
	if err != nil {
		return err
	}
	d := &demo{demoOptions: o, narrator: n, stage: s}
	defer d.close()
	defer context.AfterFunc(ctx, s.close)() // ends every wait
	return d.show(ctx)
}

func (d *demo) show(ctx context.Context) error {
	began := time.Now()
	for _, step := range []func(context.Context) error{d.measure, d.register, d.dialPlainly, d.connect, d.sendFiles} {
		if err := step(ctx); err != nil {
			d.clear()
			return err
		}
	}
	d.conclude(time.Since(began))
	return nil
}

func (d *demo) close() {
	d.stage.close()
	for _, s := range []*actor{d.a, d.b} {
		if s != nil {
			s.drain()
		}
	}
}

// measure shows the lab and what its NATs do, as seen from outside.
func (d *demo) measure(context.Context) error {
	d.step("The lab: real kernel TCP in network namespaces, and NATs between them")
	d.block(d.stage.lab.String())
	d.progress("measuring the NATs from outside ...")
	began := time.Now()
	var g errgroup.Group
	for i, h := range []*natlab.Host{d.stage.lab.A, d.stage.lab.B} {
		g.Go(func() (err error) {
			d.nats[i], err = natlab.Probe(d.stage.lab, h)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	d.clear()
	d.step(fmt.Sprintf("What the NATs do, measured from outside in %.1f s", time.Since(began).Seconds()))
	d.compare(d.stage.lab, d.nats[0], d.nats[1])
	return nil
}

// compare prints the two NATs side by side.
func (n *narrator) compare(lab *natlab.Lab, a, b natlab.Behaviour) {
	row := func(what string, of func(natlab.Behaviour) string) {
		n.say("%-40s %-26s %s", what, of(a), of(b))
	}
	n.say("%-40s %-26s %s", "", fmt.Sprint("A ", lab.A.PublicAddr()), fmt.Sprint("B ", lab.B.PublicAddr()))
	row("outside ports", func(x natlab.Behaviour) string {
		if !x.Translated {
			return "not translated"
		}
		return fmt.Sprintf("%v, %v", x.Mapping, x.Allocation)
	})
	row("who may send in", func(x natlab.Behaviour) string { return x.Filtering.String() })
	row("a SYN that nobody asked for meets", func(x natlab.Behaviour) string {
		if x.Limited {
			return x.Unsolicited.String() + ", limited"
		}
		return x.Unsolicited.String()
	})
	row("a SYN that crosses one's own meets", func(x natlab.Behaviour) string { return x.InboundAfterOutbound.String() })
	row("a SYN to the NAT's own outside meets", func(x natlab.Behaviour) string { return x.Hairpin.String() })
}

// register starts a node on each host.
func (d *demo) register(ctx context.Context) (err error) {
	d.step("Both register with the rendezvous server, which sees their outside endpoints")
	d.say("server  %s", d.stage.url)
	if d.a, err = newActor(ctx, d.stage.lab.A); err != nil {
		return err
	}
	if d.b, err = newActor(ctx, d.stage.lab.B); err != nil {
		return err
	}
	url := d.stage.url.String()
	if err := d.a.register(ctx, order{Op: "start", Server: url, Allow: []proto.ID{d.b.id}}); err != nil {
		return err
	}
	if err := d.b.register(ctx, order{Op: "start", Server: url, Answer: true, Allow: []proto.ID{d.a.id}, Freeze: d.late > 0}); err != nil {
		return err
	}
	for _, s := range []*actor{d.a, d.b} {
		d.say("%s       key %s…  own endpoint %-21v  seen as %v", s.name(), s.id.Short(), s.local, s.observed)
	}
	return nil
}

// dialPlainly shows that B's endpoint does not simply take connections.
func (d *demo) dialPlainly(ctx context.Context) error {
	d.step(fmt.Sprintf("A plain dial from A to %v, where the server sees B", d.b.observed))
	limit := 3*d.rtt + 500*time.Millisecond
	dialling, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	c, err := d.stage.lab.A.Dial(dialling, d.b.observed.String())
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		c.Close()
		d.say("connected after %v: this NAT lets everybody in (%v), so that B needs no punching", took, d.nats[1].Filtering)
	case dialling.Err() != nil:
		d.say("%s no answer within %v: B's NAT drops what B has not asked for", d.paint(red, "fails:"), limit)
	default:
		d.say("%s %v after %v: B's NAT turns away what B has not asked for", d.paint(red, "fails:"), lastCause(err), took)
	}
	return nil
}

// lastCause is the innermost error: what the system said.
func lastCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// connect has A connect to B, and shows how that came about.
func (d *demo) connect(ctx context.Context) error {
	title := "A asks for B; both are introduced and dial each other"
	if d.late > 0 {
		title += fmt.Sprintf(". B is held up for %v", d.late)
	}
	d.step(title)
	w, err := watch(d.stage.lab)
	if err != nil {
		return err
	}
	axis := clock{mono: monotonic(), wall: time.Now()}
	connected, first, failure := d.punch(ctx)
	syns := w.stop()
	diaries, err := d.diaries(ctx)
	if err != nil {
		return errors.Join(failure, err)
	}
	d.tell(axis, syns, diaries)
	if failure != nil {
		return failure
	}
	d.sayFirstByte(time.Duration(first.At - connected.At))
	return d.introduceWinner(diaries)
}

// sayFirstByte compares the time from A's request to its first byte at B's
// target with the round trip, where that means something.
func (d *demo) sayFirstByte(took time.Duration) {
	text := fmt.Sprintf("B's target has A's first byte %.1f ms after A asked", ms(took))
	switch {
	case d.late > 0:
		text += ", B's delay included"
	case d.rtt > 0:
		text += fmt.Sprintf(": %.1f round trips", float64(took)/float64(d.rtt))
	}
	d.say("%20s%s", "", text)
}

// punch makes the connection and waits for B's target to get a byte over it.
func (d *demo) punch(ctx context.Context) (connected, first report, err error) {
	if err := d.a.say(order{Op: "connect", Peer: d.b.id}); err != nil {
		return connected, first, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		connected, err = d.a.follow(ctx, "connected", nil)
		return err
	})
	g.Go(func() (err error) {
		if d.late > 0 {
			err = d.b.delay(ctx, d.late)
		}
		if err == nil {
			first, err = d.b.follow(ctx, "byte", nil)
		}
		return err
	})
	return connected, first, g.Wait()
}

// diaries asks both agents for what their nodes have told.
func (d *demo) diaries(ctx context.Context) (map[string]diary, error) {
	all := map[string]diary{}
	for _, s := range []*actor{d.a, d.b} {
		if err := s.say(order{Op: "diary"}); err != nil {
			return nil, err
		}
		r, err := s.follow(ctx, "diary", nil)
		if err != nil {
			return nil, err
		}
		all[s.name()] = r.Diary
	}
	return all, nil
}

// tell prints the timeline.
func (d *demo) tell(axis clock, syns []syn, diaries map[string]diary) {
	start, ok := diaries["A"].start()
	if !ok {
		d.say("it did not come to punching")
		return
	}
	axis.zero = start
	if other, ok := diaries["B"].start(); ok {
		d.say("0 is when the plan has both dial; the two sides' ideas of it are %.1f ms apart.", ms(time.Duration(max(start-other, other-start))))
	}
	d.say("A is %v, B is %v where they dial each other.", d.a.observed, d.b.observed)
	for _, m := range moments(axis, syns, diaries) {
		text := m.What
		if m.Good {
			text = d.paint(green, text)
		}
		d.say("%12s %s", millis(m.At), text)
	}
}

// introduceWinner shows the connection at both ends and checks who has proven
// what.
func (d *demo) introduceWinner(diaries map[string]diary) error {
	a, okA := diaries["A"].first(peer.Connected)
	b, okB := diaries["B"].first(peer.Connected)
	if !okA || !okB {
		return errors.New("one side has not confirmed the session")
	}
	d.step("One direct TCP connection, " + way(diaries))
	d.say("at A    %21v ↔ %-21v  TLS: the other is %s…", a.Local, a.Remote, a.Peer.Short())
	d.say("at B    %21v ↔ %-21v  TLS: the other is %s…", b.Local, b.Remote, b.Peer.Short())
	return verifyIdentities(a, b, d.a.id, d.b.id)
}

// verifyIdentities checks that each side has verified the other's key.
func verifyIdentities(a, b happening, idA, idB proto.ID) error {
	switch {
	case a.Peer != idB:
		return fmt.Errorf("host A is connected to %s instead of B, %s", a.Peer, idB)
	case b.Peer != idA:
		return fmt.Errorf("host B is connected to %s instead of A, %s", b.Peer, idA)
	}
	return nil
}

// way says how the connection of the session came about.
func way(diaries map[string]diary) string {
	for _, side := range []string{"A", "B"} {
		if diaries[side].accepted() {
			return fmt.Sprintf("through %s's listener on the port that it dials from", side)
		}
	}
	return "by simultaneous open: both dialled, nobody listened"
}

// sendFiles sends a file each way.
func (d *demo) sendFiles(ctx context.Context) error {
	d.step(fmt.Sprintf("A file of %s random bytes each way over the connection", d.size))
	for i, way := range [][2]*actor{{d.a, d.b}, {d.b, d.a}} {
		if err := d.sendFile(ctx, way[0], way[1], byte(i+1)); err != nil {
			return fmt.Errorf("the file from %s to %s: %w", way[0].name(), way[1].name(), err)
		}
	}
	return nil
}

func (d *demo) sendFile(ctx context.Context, from, to *actor, seed byte) error {
	if err := from.say(order{Op: "send", Peer: to.id, Size: int64(d.size), Seed: seed}); err != nil {
		return err
	}
	var sent, received report
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		sent, err = from.follow(ctx, "sent", nil)
		return err
	})
	g.Go(func() (err error) {
		received, err = to.follow(ctx, "received", func(r report) {
			d.progress(fmt.Sprintf("%s → %s  %3d %%", from.name(), to.name(), 100*r.Bytes/int64(d.size)))
		})
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	d.clear()
	took := time.Duration(received.At - sent.At)
	d.say("%s → %s  %d bytes in %.2f s, %.0f Mbit/s", from.name(), to.name(), received.Bytes, took.Seconds(), float64(8*received.Bytes)/took.Seconds()/1e6)
	d.say("       SHA-256 at %s  %s", from.name(), sent.Sum)
	d.say("       SHA-256 at %s  %s", to.name(), received.Sum)
	return verifyFile(int64(d.size), sent, received)
}

// verifyFile checks that what was sent has arrived.
func verifyFile(size int64, sent, received report) error {
	switch {
	case sent.Bytes != size || received.Bytes != size:
		return fmt.Errorf("of %d bytes %d were sent and %d have arrived", size, sent.Bytes, received.Bytes)
	case sent.Sum == "" || sent.Sum != received.Sum:
		return fmt.Errorf("what has arrived is not what was sent: SHA-256 %s instead of %s", received.Sum, sent.Sum)
	}
	return nil
}

func (d *demo) conclude(took time.Duration) {
	fmt.Fprintf(d.w, "\n%s %s × %s direct, both keys verified, %s intact each way. %.1f s\n",
		d.paint(green, "All held:"), d.natA, d.natB, d.size, took.Seconds())
}
