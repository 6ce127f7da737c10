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

// All dials of a side behind a proxy complete, and every one of the connections is
// delivered, however late they are received: any may be the one.
func TestCompletedDialsAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := reports(transcript(obsA, obsB, 20_000, 20_000), edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes }), silentNAT())
		run, err := Start(RunConfig{
			Transcript: &tr, Role: proto.Initiator, Received: time.Now(), OtherPorts: true, Gate: NewGate(slog.New(slog.DiscardHandler)),
			Dial: func(netip.AddrPort, DialOptions) Dialling {
				near, far := net.Pipe()
				go io.Copy(io.Discard, far)
				return connectedDial{near}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := len(run.Conns()); n != maxSpread {
			t.Errorf("%d connections are delivered, want %d", n, maxSpread)
		}
		run.Stop()
	})
}
