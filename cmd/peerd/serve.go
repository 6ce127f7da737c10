package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/rendezvous"
)

// shutdownLimit bounds how long the server says goodbye to its clients.
const shutdownLimit = 5 * time.Second

// serveOptions are the flags of serve.
type serveOptions struct {
	listen     string
	probes     []string
	probeAddr  string
	publicAddr string
}

func (p *program) serveCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the rendezvous server",
		Long: `Run the rendezvous server: peers register with it, and it introduces them to
each other. What they say to each other does not pass through it. It answers
STUN requests over TCP on its port, too, and on the probe ports.

Peers use the probe ports to find out what their NATs do, and may ask the server
to dial them back for that: one SYN, and only to where they are connected from.
A second address of this host (--probe-addr) tells more; the probe ports serve
it, too. Peers must reach it under that very address: one that a provider maps to
a private address of this host will not do.

The only line on standard output is the URL that peers need, as soon as the
server accepts connections. The key in it is that of server.key in the state
directory, which is created if there is none.

The server runs until SIGINT, SIGTERM or SIGHUP, and then exits with 0.`,
		Example: `  peerd serve
  peerd serve --listen :443 --probe-listen "" --public-addr rendezvous.example.org`,
		Args: takes(),
		RunE: p.begin(func(cmd *cobra.Command, _ []string) error { return p.serve(cmd, o) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", fmt.Sprintf(":%d", proto.DefaultPort), "`ADDR` to serve on")
	f.StringArrayVar(&o.probes, "probe-listen", []string{":7879"}, "`ADDR` that answers STUN only; may be repeated, \"\" is none")
	f.StringVar(&o.probeAddr, "probe-addr", "", "another `ADDRESS` of this host; with it peers find out all that their NATs do")
	f.StringVar(&o.publicAddr, "public-addr", "", "`HOST` in the printed URL (default the address of --listen, or a guess)")
	return cmd
}

func (p *program) serve(cmd *cobra.Command, o serveOptions) error {
	if err := o.check(); err != nil {
		return &usageError{cmd, err.Error()}
	}
	log := p.logger(slog.LevelInfo)
	key, err := p.key(serverKeyFile, log)
	if err != nil {
		return err
	}
	listeners, err := listenAll(append([]string{o.listen}, o.probes...))
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	second, err := o.listenAtSecond(listeners[1:])
	if err != nil {
		return err
	}
	defer closeAll(second)
	url := proto.ServerURL{Host: o.publicAddr, Port: portOf(listeners[0]), Key: key.ID()}
	if url.Host == "" {
		url.Host = publicHost(listeners[0], o.second(), log)
	}
	if o.probeAddr != "" && url.Host == o.second().String() {
		return &usageError{cmd, fmt.Sprintf("--probe-addr %s is the address at which peers reach this server anyway; it takes another one", o.probeAddr)}
	}
	config := rendezvous.ServerConfig{Key: key, Logger: log, Alternate: o.second()}
	for _, l := range listeners[1:] {
		config.ProbePorts = append(config.ProbePorts, portOf(l))
	}
	if origins, err := rendezvous.OpenOrigins(); err != nil {
		log.Warn("peers find out less about their NATs: none is dialled back", "err", err)
	} else {
		defer origins.Close()
		config.Origins = origins
	}
	return p.serveOn(cmd.Context(), listeners[0], append(listeners[1:], second...), url, config)
}

// second returns the second address; the zero Addr if there is none.
func (o *serveOptions) second() netip.Addr {
	addr, _ := netip.ParseAddr(o.probeAddr)
	return addr.Unmap()
}

// listenAtSecond listens on the probe ports at the second address, where that is
// not done yet: what listens on all addresses of a kind has it.
func (o *serveOptions) listenAtSecond(probes []net.Listener) ([]net.Listener, error) {
	if o.probeAddr == "" {
		return nil, nil
	}
	own, err := net.Listen("tcp", net.JoinHostPort(o.probeAddr, "0"))
	if err != nil {
		return nil, fmt.Errorf("--probe-addr %s is not an address of this host: %w; give one that it has, or none", o.probeAddr, err)
	}
	own.Close()
	var missing []string
	for _, l := range probes {
		at := l.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		covered := at.IsUnspecified() && (at.Is6() || o.second().Is4())
		if !covered && at != o.second() {
			missing = append(missing, netip.AddrPortFrom(o.second(), portOf(l)).String())
		}
	}
	return listenAll(missing)
}

// check checks what can be checked without the network.
func (o *serveOptions) check() error {
	o.probes = slices.DeleteFunc(o.probes, func(addr string) bool { return addr == "" })
	if len(o.probes) > proto.MaxProbePorts {
		return fmt.Errorf("--probe-listen: at most %d times", proto.MaxProbePorts)
	}
	for _, addr := range append([]string{o.listen}, o.probes...) {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%w: --listen and --probe-listen take HOST:PORT or :PORT", err)
		}
	}
	if addr, err := netip.ParseAddr(o.probeAddr); o.probeAddr != "" && (err != nil || addr.IsUnspecified() || addr.IsMulticast() || addr.Zone() != "") {
		return fmt.Errorf("--probe-addr %q is not an address of this host", o.probeAddr)
	}
	if o.probeAddr != "" && len(o.probes) == 0 {
		return errors.New("--probe-addr is for the probe ports, and --probe-listen says that there are none")
	}
	if o.publicAddr == "" {
		return nil
	}
	url := proto.ServerURL{Host: o.publicAddr, Port: proto.DefaultPort}
	if parsed, err := proto.ParseServerURL(url.String()); err != nil || parsed != url {
		return fmt.Errorf("--public-addr %q is not a host name or an address", o.publicAddr)
	}
	return nil
}

// serveOn serves until ctx ends or a listener fails.
func (p *program) serveOn(ctx context.Context, main net.Listener, probes []net.Listener, url proto.ServerURL, config rendezvous.ServerConfig) error {
	log := config.Logger
	server := rendezvous.NewServer(config)
	failed := make(chan error, 1+len(probes))
	go func() { failed <- server.Serve(main) }()
	for _, l := range probes {
		go func() { failed <- server.ServeProbe(l) }()
	}
	defer server.Close()
	if err := p.println(url.String()); err != nil {
		return err
	}
	log.Info("serving", "listen", main.Addr(), "probe_ports", config.ProbePorts)
	select {
	case err := <-failed:
		return fmt.Errorf("serving failed: %w; start the server again", err)
	case <-ctx.Done():
	}
	log.Info("shutting down", "reason", context.Cause(ctx))
	farewell, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := server.Shutdown(farewell); err != nil {
		log.Warn("some clients did not take leave in time")
	}
	return nil
}

// listenAll listens on all addresses, or on none.
func listenAll(addrs []string) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, addr := range addrs {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			closeAll(listeners)
			return nil, listenFailed(addr, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listenFailed(addr string, err error) error {
	var (
		op  *net.OpError
		sys *os.SyscallError
	)
	switch {
	case errors.As(err, &sys):
		err = sys.Err
	case errors.As(err, &op):
		err = op.Err
	}
	return fmt.Errorf("cannot listen on %s: %w; stop what uses that address, or choose another with --listen or --probe-listen", addr, err)
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

func portOf(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

// publicHost returns the host for the URL where the user named none.
func publicHost(l net.Listener, second netip.Addr, log *slog.Logger) string {
	addr := l.Addr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	if !addr.IsUnspecified() {
		return addr.String()
	}
	host, _ := punch.ReadHostNetwork() // without it the guess is loopback
	guess := guessPublic(slices.DeleteFunc(host.Addrs, func(a netip.Addr) bool { return a == second }))
	log.Warn("guessed where peers reach this server; if that is wrong, set --public-addr", "host", guess)
	return guess.String()
}

// guessPublic returns the address that peers most probably reach: public ones
// before private ones, and then IPv4 before IPv6.
func guessPublic(addrs []netip.Addr) netip.Addr {
	if len(addrs) == 0 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	rank := func(a netip.Addr) int {
		n := 0
		if a.IsPrivate() || sharedSpace.Contains(a) {
			n += 2
		}
		if !a.Is4() {
			n++
		}
		return n
	}
	return slices.MinFunc(addrs, func(a, b netip.Addr) int { return rank(a) - rank(b) })
}

// sharedSpace is what carrier-grade NATs give their customers (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")
