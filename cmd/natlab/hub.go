package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/rendezvous"
)

// A hub is this program started again on the lab's server host, where it is the
// rendezvous server: what a server dials back it has to dial from there. It prints
// its URL and serves until its standard input ends.

// hubArg starts the program as a hub.
const hubArg = "hub"

// hubProbes are the ports for measuring NATs: one more than the least, so that it
// shows whether a mapping depends on the port.
var hubProbes = []uint16{proto.DefaultPort + 1, proto.DefaultPort + 2}

// runHub serves at the first of two addresses, and helps to measure at both. It has
// no limits that many measurements in a row from a few addresses could reach.
func runHub(addr, alternate string, in io.Reader, out io.Writer) error {
	key := identity.Generate()
	cfg := rendezvous.ServerConfig{Key: key, ProbePorts: hubProbes, ConnectionRate: -1, DialBackRate: -1}
	var err error
	if cfg.Alternate, err = netip.ParseAddr(alternate); err != nil {
		return err
	}
	if cfg.Origins, err = rendezvous.OpenOrigins(); err != nil {
		return err
	}
	defer cfg.Origins.Close()
	server := rendezvous.NewServer(cfg)
	defer server.Close()
	failed := make(chan error, 1+len(hubProbes)+1) // one for each goroutine below
	for i, port := range append([]uint16{proto.DefaultPort}, hubProbes...) {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		serve := server.ServeProbe
		if i == 0 {
			serve = server.Serve
		}
		go func() { failed <- serve(l) }()
	}
	go func() {
		_, err := io.Copy(io.Discard, in)
		failed <- err
	}()
	fmt.Fprintln(out, proto.ServerURL{Host: addr, Port: proto.DefaultPort, Key: key.ID()})
	return <-failed
}

// startHub starts the server of a lab, which lives as long as the lab.
func startHub(lab *natlab.Lab) (url proto.ServerURL, err error) {
	cmd := lab.Server.Command(context.Background(), executable(), hubArg, lab.Server.Addr().String(), lab.Server.Alternate().String())
	cmd.Env = append(os.Environ(), agentEnv+"=1")
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // open as long as the process lives
		return url, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return url, err
	}
	if err := cmd.Start(); err != nil {
		return url, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return url, errors.Join(errors.New("the lab's server did not start"), cmd.Wait())
	}
	return proto.ParseServerURL(line[:len(line)-1])
}
