package punch

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
)

// connectedDial has ended with a connection.
type connectedDial struct{ net.Conn }

func (d connectedDial) Wait(context.Context) (net.Conn, error) { return d.Conn, nil }
func (connectedDial) Answered() bool                           { return true }
func (connectedDial) Acknowledged() bool                       { return true }

// All dials of a side behind a proxy complete, and none of the connections is anybody's
// business before the peer has proven itself on it.
func TestCompletedDialsAreDeliveredOnceProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), proxiedRandom(), silentNAT())
		run, err := Start(RunConfig{
			Transcript: &tr, Role: proto.Initiator, Received: time.Now(), OtherPorts: true, Gate: NewGate(slog.New(slog.DiscardHandler)),
			Dial: func(_ netip.AddrPort, o DialOptions) Dialling {
				near, far := net.Pipe()
				go meetDial(far, tr.Introduction, o.Slot == 200)
				return connectedDial{near}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(400 * time.Millisecond)
		if n := len(run.Conns()); n > 1 { // the plain dial's
			t.Errorf("%d are delivered and not proven", n-1)
		}
		time.Sleep(200 * time.Millisecond)
		proven := 0
		for range len(run.Conns()) {
			c := <-run.Conns()
			if c.Proven() {
				proven++
			}
			c.Close()
		}
		if proven != 1 {
			t.Errorf("%d are delivered and proven", proven)
		}
		run.Stop()
	})
}

// meetDial is the far end of a dial, which is the peer's or nobody's.
func meetDial(far net.Conn, introduction proto.Token, peer bool) {
	if peer {
		go func() {
			p := proto.NewPreamble(proto.Responder, introduction, proto.Secret{})
			far.Write(p[:])
		}()
	}
	io.Copy(io.Discard, far)
}

// completing is a rig of a proxy's side, all of whose volley's dials complete.
func completing(t *testing.T, still *proto.NATReport, lasts time.Duration, met func(n int, s *fakeSocket)) *rig {
	r := newLadderRig(t, proxiedRandom(), still, proto.Initiator, func(c *Config) { c.Quiet = true })
	n := 0
	for range lasts / ms {
		r.pass(ms)
		for ; n < len(r.volleys()); n++ {
			r.volleys()[n].connect()
			met(n, r.volleys()[n])
		}
	}
	return r
}

// Whoever answers something else than the peer at the one endpoint of a proxy's dials is
// left alone from then on.
func TestStrangerEndsCompletedDials(t *testing.T) {
	for name, says := range map[string]func(s *fakeSocket){
		"a preamble's length": func(s *fakeSocket) { s.h.Received(make([]byte, proto.PreambleSize)) },
		"less, and ends":      func(s *fakeSocket) { s.fail(hungUp(7, io.ErrUnexpectedEOF)) },
	} {
		for _, still := range []*proto.NATReport{poisonedNAT(), silentNAT()} {
			r := completing(t, still, 3*time.Second, func(n int, s *fakeSocket) {
				if n == 20 {
					says(s)
				}
			})
			open := 0
			for _, s := range r.volleys() {
				if !s.closed && !s.failed {
					open++
				}
			}
			if n := len(r.volleys()); n > 22 || open > 0 {
				t.Errorf("%s: %d dials, %d connections are open", name, n, open)
			}
			r.exec.Stop()
		}
	}
}

// One that says nothing, or ends each connection, is met so often and no more.
func TestCompletedDialsAreBounded(t *testing.T) {
	for name, met := range map[string]func(int, *fakeSocket){
		"silent": func(int, *fakeSocket) {},
		"ends":   func(_ int, s *fakeSocket) { s.fail(ErrHungUp) },
	} {
		r := completing(t, poisonedNAT(), 6*time.Second, met)
		if n := len(r.volleys()); n < maxCompleted || n > maxCompleted+1 {
			t.Errorf("%s: %d connections, want %d", name, n, maxCompleted)
		}
		r.exec.Stop()
	}
}
