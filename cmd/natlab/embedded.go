package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/peerd/peerd/proto"
)

// embeddedClaims are about programs that embed package peer.
func embeddedClaims() []claim {
	return []claim{
		{"HTTP between embedded nodes", "an http.Transport that dials with Node.DialContext, and an http.Server on Node.Listen, exchange files through two NATs",
			nil, embeddedHTTP},
	}
}

// webService is the service that agents offer their files as: an http.Transport
// asks for the port.
const webService = "80"

// embeddedHTTP has agents on both hosts be the programs.
func embeddedHTTP(ctx context.Context, g ground) (f finding, err error) {
	b, err := newBench(cell{A: "linux-drop", B: "user-rst", RTT: 20 * time.Millisecond}, 1)
	if err != nil {
		return f, err
	}
	defer b.close()
	err = errors.Join(
		b.a.start(order{Op: "start", Server: b.url.String()}),
		b.b.start(order{Op: "start", Server: b.url.String(), Answer: true, Allow: []proto.ID{b.a.id}}),
	)
	if err != nil {
		return f, err
	}
	if err := b.b.obeyed(order{Op: "serve"}, "serving"); err != nil {
		return f, err
	}
	requests, size := figure(g, 20, 200), int64(1<<20)
	began := time.Now()
	if err := b.a.obeyed(order{Op: "browse", Peer: b.b.id, Count: requests, Size: size}, "browsed"); err != nil {
		return f, err
	}
	took := time.Since(began)
	f.Text = fmt.Sprintf("%d requests for %d KiB, each answer right, in %.1f s", requests, size>>10, took.Seconds())
	return f, errors.Join(b.a.stop(), b.b.stop())
}

// obeyed gives an order and waits for the report that it is carried out.
func (c *conductor) obeyed(o order, event string) error {
	if err := c.say(o); err != nil {
		return err
	}
	_, err := c.await(event)
	return err
}

// serve offers files by HTTP, until the node is closed.
func (a *agent) serve() {
	l, err := a.node.Listen(context.Background(), webService)
	if err != nil {
		a.fail(err)
		return
	}
	a.say(report{Event: "serving"})
	http.Serve(l, http.HandlerFunc(sendFile))
}

// browsers is how many requests are under way at once.
const browsers = 8

// browse asks the peer for files.
func (a *agent) browse(o order) {
	ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
	defer cancel()
	transport := &http.Transport{DialContext: a.node.DialContext}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	err := atOnce(browsers, func(n int) error {
		for ; n < o.Count; n += browsers {
			url := fmt.Sprintf("http://%v/?seed=%d&size=%d", o.Peer, byte(n), o.Size)
			if err := getFile(ctx, client, 1, url, randomBytes(byte(n), int(o.Size))); err != nil {
				return fmt.Errorf("request %d: %w", n, err)
			}
		}
		return nil
	})
	if err != nil {
		a.fail(err)
		return
	}
	a.say(report{Event: "browsed"})
}
