package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// fileTarget is the target to which agents send files: a server that reports
// what has arrived, and its hash.
const fileTarget = "file"

// fileBuffer is the size of the pieces that a file is sent in.
const fileBuffer = 256 << 10

// sendFile sends pseudo-random bytes to the peer, and reports them once the
// peer's end of the stream says that all have arrived.
func (a *agent) sendFile(o order) {
	ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
	defer cancel()
	s, err := a.node.Dial(ctx, o.Peer, fileTarget)
	if err != nil {
		a.fail(err)
		return
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.Abort)()
	sum, began := sha256.New(), monotonic()
	file := io.LimitReader(rand.NewChaCha8([32]byte{o.Seed}), o.Size)
	n, err := io.CopyBuffer(io.MultiWriter(s, sum), file, make([]byte, fileBuffer))
	if err == nil {
		err = s.CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, s)
	}
	if err != nil {
		a.fail(err)
		return
	}
	a.say(report{Event: "sent", At: began, Took: time.Duration(monotonic() - began), Bytes: n, Sum: hexSum(sum)})
}

// serveFiles takes files until the listener is closed.
func (a *agent) serveFiles(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go a.receiveFile(c)
	}
}

// receiveFile hashes a file, and reports its progress and its end.
func (a *agent) receiveFile(c net.Conn) {
	defer c.Close()
	sum, buf := sha256.New(), make([]byte, fileBuffer)
	var n int64
	for told := time.Now(); ; {
		k, err := c.Read(buf)
		sum.Write(buf[:k])
		n += int64(k)
		switch {
		case errors.Is(err, io.EOF):
			a.say(report{Event: "received", Bytes: n, Sum: hexSum(sum)})
			return
		case err != nil:
			a.fail(err)
			return
		case time.Since(told) > progressEvery:
			told = time.Now()
			a.say(report{Event: "progress", Bytes: n})
		}
	}
}

// progressEvery is how often a receiving agent says how far it is.
const progressEvery = 100 * time.Millisecond

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
