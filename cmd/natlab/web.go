package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	randv2 "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/websocket"

	"github.com/peerd/peerd/punch/natlab"
)

// Where the servers of the lab's web listen on B. The names are what B exposes
// them as; the client knows nothing else of them.
var webSites = []struct{ name, addr string }{
	{"rude.test:80", "127.0.0.1:9001"},
	{"modern.test:80", "127.0.0.1:9002"},
	{"modern.test:443", "127.0.0.1:9003"},
	{"patient.test:80", "127.0.0.1:9004"},
	{"generous.test:80", "127.0.0.1:9005"},
	{"echo.test:80", "127.0.0.1:9006"},
	{"nobody.test:80", "127.0.0.1:9009"}, // nobody listens
}

func webExposed() (list []string) {
	for _, s := range webSites {
		list = append(list, s.name+"="+s.addr)
	}
	return list
}

// web are servers on host B that do what servers do to their clients.
type web struct {
	ca        string // file with the certificate of modern.test:443
	listeners []net.Listener
	serving   sync.WaitGroup

	modern   modernCount
	generous chan []byte // hashes of what generous.test has got
}

func startWeb(h *natlab.Host, dir string) (w *web, err error) {
	w = &web{ca: filepath.Join(dir, "ca.pem"), generous: make(chan []byte, 1)}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	cert, err := selfSigned("modern.test", w.ca)
	if err != nil {
		return nil, err
	}
	for i, serve := range []func(net.Listener){
		accepting(serveRude),
		w.serveModern,
		func(l net.Listener) { w.serveModern(tls.NewListener(l, modernTLS(cert))) },
		accepting(servePatient),
		accepting(w.serveGenerous),
		accepting(serveEcho),
	} {
		l, err := h.Listen(webSites[i].addr)
		if err != nil {
			return nil, err
		}
		w.listeners = append(w.listeners, l)
		w.serving.Go(func() { serve(l) })
	}
	return w, nil
}

// close ends the servers. The connections end with the lab.
func (w *web) close() {
	for _, l := range w.listeners {
		l.Close()
	}
	w.serving.Wait()
}

// accepting serves each connection on its own.
func accepting(serve func(*net.TCPConn)) func(net.Listener) {
	return func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // until the client ends
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}
}

// rudeSize is more than a window of anything on the way.
const rudeSize = 3 << 20

// serveRude answers one request the way that its path says.
func serveRude(c *net.TCPConn) {
	in := bufio.NewReader(c)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	switch r.URL.Path {
	case "/whole": // ends with the connection, after all of it
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
		io.CopyN(c, randomStream(3), rudeSize)
	case "/reset-length":
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", rudeSize)
		io.CopyN(c, randomStream(3), rudeSize/2)
		c.SetLinger(0)
	case "/reset-no-length":
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
		io.CopyN(c, randomStream(3), rudeSize/2)
		c.SetLinger(0)
	case "/reset-chunked":
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n")
		io.CopyN(c, randomStream(3), 65536)
		c.SetLinger(0)
	case "/short-length": // ends properly, but too early
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", rudeSize)
		io.CopyN(c, randomStream(3), rudeSize/2)
	case "/early": // answers before it reads, and then reads until the client ends
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
		c.CloseWrite()
		io.Copy(io.Discard, in)
	case "/early-close": // answers, and closes with the body unread: the kernel sends RST
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
	case "/endless":
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
		for err == nil {
			_, err = io.CopyN(c, randomStream(4), 16<<10)
			time.Sleep(time.Millisecond)
		}
	}
}

func randomStream(seed byte) io.Reader { return randv2.NewChaCha8([32]byte{seed}) }

// servePatient reads to the client's end and only then answers, with the hash.
func servePatient(c *net.TCPConn) {
	sum := sha256.New()
	if _, err := io.Copy(sum, struct{ io.Reader }{c}); err == nil {
		c.Write(sum.Sum(nil))
	}
}

const greeting = "take what you like"

// serveGenerous says something, ends, and reads to the client's end.
func (w *web) serveGenerous(c *net.TCPConn) {
	io.WriteString(c, greeting)
	c.CloseWrite()
	sum := sha256.New()
	if _, err := io.Copy(sum, struct{ io.Reader }{c}); err == nil {
		w.generous <- sum.Sum(nil)
	}
}

func serveEcho(c *net.TCPConn) {
	if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err == nil {
		c.CloseWrite()
	}
}

// serveModern speaks HTTP/1.1, HTTP/2 and websocket.
func (w *web) serveModern(l net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /file", func(rw http.ResponseWriter, r *http.Request) {
		w.modern.request(1)
		defer w.modern.request(-1)
		sendFile(rw, r)
	})
	mux.HandleFunc("PUT /sum", answerSum)
	mux.Handle("/echo", websocket.Server{Handler: func(c *websocket.Conn) { io.Copy(c, c) }})
	s := &http.Server{Handler: mux, Protocols: new(http.Protocols), ErrorLog: log.New(io.Discard, "", 0), ConnState: w.modern.connection}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Serve(l)
}

// modernCount counts what modern.test serves.
type modernCount struct {
	mu          sync.Mutex
	connections int
	now, most   int // requests at once
}

// reset starts a new count.
func (c *modernCount) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connections, c.most = 0, c.now
}

func (c *modernCount) counts() (connections, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connections, c.most
}

func (c *modernCount) connection(_ net.Conn, s http.ConnState) {
	if s == http.StateNew {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.connections++
	}
}

func (c *modernCount) request(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += n
	c.most = max(c.most, c.now)
}

// sendFile answers with pseudo-random bytes: seed and size as asked.
func sendFile(w http.ResponseWriter, r *http.Request) {
	seed, size, err := fileQuery(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(randomStream(seed), size), make([]byte, 64<<10))
}

func fileQuery(q url.Values) (seed byte, size int64, err error) {
	n, err := strconv.ParseUint(q.Get("seed"), 10, 8)
	size, sizeErr := strconv.ParseInt(q.Get("size"), 10, 64)
	return byte(n), size, errors.Join(err, sizeErr)
}

// answerSum answers with the hash of the body.
func answerSum(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err == nil {
		fmt.Fprintf(w, "%x", sum.Sum(nil))
	}
}

func modernTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
}

// selfSigned makes a certificate for a name, and a file that clients may trust.
func selfSigned(name, file string) (cert tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return cert, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, text, 0o644)
}

// dialSOCKS connects from a host to a name through a SOCKS5 proxy (RFC 1928).
func dialSOCKS(ctx context.Context, h *natlab.Host, proxy, name string, port uint16) (net.Conn, error) {
	c, err := h.Dial(ctx, proxy)
	if err != nil {
		return nil, err
	}
	if err := askSOCKS(c, name, port); err != nil {
		c.Close()
		return nil, fmt.Errorf("SOCKS to %s:%d: %w", name, port, err)
	}
	return c, nil
}

func askSOCKS(c net.Conn, name string, port uint16) error {
	var answer [10]byte // with an IPv4 address
	if _, err := c.Write([]byte{5, 1, 0}); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, answer[:2]); err != nil || answer[1] != 0 {
		return errors.Join(fmt.Errorf("method % x", answer[:2]), err)
	}
	request := append([]byte{5, 1, 0, 3, byte(len(name))}, name...)
	if _, err := c.Write(append(request, byte(port>>8), byte(port))); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, answer[:]); err != nil || answer[1] != 0 {
		return errors.Join(fmt.Errorf("reply % x", answer), err)
	}
	return nil
}
