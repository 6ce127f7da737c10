package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// browseClaims are about what runs over -L and -D and needs more than curl.
func browseClaims() []claim {
	return []claim{
		{"half-close", "each direction of a connection through `-L` and `-D` ends on its own: a server that answers only after the client's end does answer, and one that ends first still gets everything",
			nil, halfClose},
		{"websocket", "websockets through `-L` and `-D` echo every message, many at once",
			nil, websockets},
		{"HTTP 2", "HTTP/2 through `-L` and `-D`, with and without TLS, carries many requests at once over one connection, each answer right",
			[]string{"curl"}, http2},
	}
}

// browse runs an experiment over both routes.
func browse(ctx context.Context, g ground, c cell, try func(*webWorld, route) (string, error)) (f finding, err error) {
	w, err := newWebWorld(ctx, g, c)
	if err != nil {
		return f, err
	}
	defer w.close()
	var texts []string
	for _, r := range w.routes[1:] {
		text, err := try(w, r)
		if err != nil {
			return f, fmt.Errorf("%s: %w", r.name, err)
		}
		texts = append(texts, r.name+": "+text)
	}
	return finding{Text: strings.Join(texts, "; ")}, nil
}

// halfClose sends all and ends before the server answers; then the other way
// round.
func halfClose(ctx context.Context, g ground) (finding, error) {
	size := figure(g, 4<<20, 64<<20)
	return browse(ctx, g, cell{A: "linux-icmp", B: "user-drop", RTT: 20 * time.Millisecond}, func(w *webWorld, r route) (string, error) {
		sent := randomBytes(7, size)
		if err := endFirst(ctx, r, sent); err != nil {
			return "", fmt.Errorf("the client ends first: %w", err)
		}
		if err := endLast(ctx, r, w.web.generous, sent); err != nil {
			return "", fmt.Errorf("the server ends first: %w", err)
		}
		return fmt.Sprintf("%d MiB past the other side's end, both ways", size>>20), nil
	})
}

// endFirst sends all and ends; the answer is the hash of what was sent.
func endFirst(ctx context.Context, r route, sent []byte) error {
	c, err := dialUntil(ctx, r, "patient.test:80")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(sent); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return readExactly(c, sum256(sent))
}

// endLast reads a greeting to its end and only then sends, which the server
// has to get in whole.
func endLast(ctx context.Context, r route, arrived <-chan []byte, sent []byte) error {
	c, err := dialUntil(ctx, r, "generous.test:80")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := readExactly(c, []byte(greeting)); err != nil {
		return err
	}
	if _, err := c.Write(sent); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	select {
	case sum := <-arrived:
		if !bytes.Equal(sum, sum256(sent)) {
			return errors.New("what arrived after the server's end is not what was sent")
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not all has arrived: %w", ctx.Err())
	}
}

// dialUntil opens a connection that fails when ctx ends.
func dialUntil(ctx context.Context, r route, site string) (net.Conn, error) {
	c, err := r.dial(ctx, site)
	if err != nil {
		return nil, err
	}
	if limit, ok := ctx.Deadline(); ok {
		c.SetDeadline(limit)
	}
	return c, nil
}

// readExactly reads to the end and compares.
func readExactly(r io.Reader, want []byte) error {
	got, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%d bytes came instead of %d, or others", len(got), len(want))
	}
	return err
}

func sum256(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}

// websockets echoes messages of many sizes over many connections.
func websockets(ctx context.Context, g ground) (finding, error) {
	sockets, messages := figure(g, 8, 50), figure(g, 20, 200)
	return browse(ctx, g, cell{A: "linux-drop", B: "linux-drop", RTT: 20 * time.Millisecond}, func(_ *webWorld, r route) (string, error) {
		err := atOnce(sockets, func(n int) error { return echoMessages(ctx, r, byte(n), messages) })
		return fmt.Sprintf("%d messages on each of %d sockets", messages, sockets), err
	})
}

func echoMessages(ctx context.Context, r route, seed byte, messages int) error {
	c, err := dialUntil(ctx, r, "modern.test:80")
	if err != nil {
		return err
	}
	defer c.Close()
	config, err := websocket.NewConfig("ws://modern.test/echo", "http://modern.test/")
	if err != nil {
		return err
	}
	socket, err := websocket.NewClient(config, c)
	if err != nil {
		return err
	}
	socket.PayloadType = websocket.BinaryFrame
	for n := range messages {
		sent := randomBytes(seed, 1+n*137%5000)
		if _, err := socket.Write(sent); err != nil {
			return err
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(socket, got); err != nil || !bytes.Equal(got, sent) {
			return errors.Join(fmt.Errorf("message %d of %d bytes came back wrong", n, len(sent)), err)
		}
	}
	return nil
}

// atOnce runs n of them at once, and returns what failed.
func atOnce(n int, run func(n int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = run(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// http2 asks for many files at once, with Go and with curl.
func http2(ctx context.Context, g ground) (finding, error) {
	requests := figure(g, 40, 200)
	return browse(ctx, g, cell{A: "user-rst", B: "linux-drop", RTT: 20 * time.Millisecond}, func(w *webWorld, r route) (string, error) {
		var texts []string
		for _, scheme := range []string{"http", "https"} {
			most, err := w.multiplex(ctx, r, scheme, requests)
			if err != nil {
				return "", fmt.Errorf("%s: %w", scheme, err)
			}
			if err := w.multiplexCurl(ctx, r, scheme); err != nil {
				return "", fmt.Errorf("curl, %s: %w", scheme, err)
			}
			texts = append(texts, fmt.Sprintf("%d requests, up to %d at once, over one connection with %s", requests, most, scheme))
		}
		return strings.Join(texts, ", "), nil
	})
}

const h2FileSize = 100_000 // more than one frame

// multiplex makes the requests at once, over one connection.
func (w *webWorld) multiplex(ctx context.Context, r route, scheme string, requests int) (most int, err error) {
	client, err := w.h2Client(r)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	w.web.modern.reset()
	get := func(n int) error {
		url := fmt.Sprintf("%s://modern.test/file?seed=%d&size=%d", scheme, byte(n), h2FileSize)
		return getFile(ctx, client, 2, url, randomBytes(byte(n), h2FileSize))
	}
	if err := get(0); err != nil { // makes the connection that the others share
		return 0, err
	}
	if err := atOnce(requests, get); err != nil {
		return 0, err
	}
	connections, most := w.web.modern.counts()
	switch {
	case connections != 1:
		err = fmt.Errorf("%d connections instead of one", connections)
	case most < 2:
		err = errors.New("the requests came one after the other")
	}
	return most, err
}

// h2Client speaks nothing but HTTP/2.
func (w *webWorld) h2Client(r route) (*http.Client, error) {
	ca, err := os.ReadFile(w.web.ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	t := &http.Transport{
		DialContext:     func(ctx context.Context, _, addr string) (net.Conn, error) { return r.dial(ctx, addr) },
		TLSClientConfig: &tls.Config{RootCAs: roots},
		Protocols:       new(http.Protocols),
	}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: t}, nil
}

// getFile wants exactly these bytes in the answer, over that version of HTTP.
func getFile(ctx context.Context, client *http.Client, version int, url string, want []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.ProtoMajor != version {
		return fmt.Errorf("the protocol is %s", answer.Proto)
	}
	return readExactly(answer.Body, want)
}

// multiplexCurl has curl ask for files at once.
func (w *webWorld) multiplexCurl(ctx context.Context, r route, scheme string) error {
	const files = 10
	args := []string{"-Z", "--no-progress-meter", "--cacert", w.web.ca, "--http2"}
	if scheme == "http" {
		// Debian 12's curl 7.88 fails with -Z and prior knowledge, on loopback
		// too, unless each request gets a connection.
		args = append(args, "--http2-prior-knowledge", "--parallel-immediate")
	}
	name := func(n int) string { return fmt.Sprintf("%s/curl%s-%s-%d", w.dir, r.name, scheme, n) }
	for n := range files {
		args = append(args, "-o", name(n), fmt.Sprintf("%s://modern.test/file?seed=%d&size=%d", scheme, n, h2FileSize))
	}
	res, err := w.runCurl(ctx, r, "", append(args, "-w", "%{http_version}\n")...)
	if err != nil || res.code != 0 || res.status != strings.Repeat("2\n", files) {
		return errors.Join(fmt.Errorf("%v", res), err)
	}
	for n := range files {
		if err := sameFile(name(n), byte(n), h2FileSize); err != nil {
			return err
		}
	}
	return nil
}
