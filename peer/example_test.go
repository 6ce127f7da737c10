package peer_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/rendezvous"
)

// serve runs a rendezvous server on the loopback, in place of "peerd serve" on a
// public host, and returns the URL that it would print.
func serve() (url string, stop func()) {
	key := identity.Generate()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := rendezvous.NewServer(rendezvous.ServerConfig{Key: key})
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	return fmt.Sprintf("peerd://%s#%s", l.Addr(), key.ID()), func() { server.Close(); <-done }
}

// start starts a node. A program keeps its key in a file, with
// identity.LoadOrCreate.
func start(ctx context.Context, url string, cfg peer.Config) *peer.Node {
	var err error
	if cfg.Server, err = peer.ParseServerURL(url); err != nil {
		log.Fatal(err)
	}
	if cfg.Key == nil {
		cfg.Key = identity.Generate()
	}
	node, err := peer.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Start(ctx); err != nil {
		log.Fatal(err)
	}
	return node
}

// A web server for chosen peers, and a client that knows it by a name: neither
// has a port that others could reach.
func Example_http() {
	ctx := context.Background()
	url, stop := serve()
	defer stop()
	clientKey := identity.Generate()

	// On one machine: services are offered to the peers in Allow only.
	home := start(ctx, url, peer.Config{Answer: true, Allow: []peer.ID{clientKey.ID()}})
	defer home.Close()
	l, err := home.Listen(ctx, "80")
	if err != nil {
		log.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The remote address is the client's ID, which TLS has verified.
		if r.RemoteAddr == clientKey.ID().String() {
			fmt.Fprintln(w, "hello, friend")
		}
	}))

	// On the other machine, behind another NAT.
	trip := start(ctx, url, peer.Config{Key: clientKey, Names: map[string]peer.ID{"home": home.ID()}})
	defer trip.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: trip.DialContext}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://home/") // port 80 of http is the service "80"
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(resp.Status, ": ", string(body))
	// Output: 200 OK: hello, friend
}

// A service that echoes. Both nodes wait for each other: it does not matter
// which one is there first, and neither answers anybody else.
func Example_echo() {
	ctx := context.Background()
	url, stop := serve()
	defer stop()
	a := start(ctx, url, peer.Config{})
	defer a.Close()
	b := start(ctx, url, peer.Config{Allow: []peer.ID{a.ID()}})
	defer b.Close()

	l, err := b.Listen(ctx, "echo")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if id, ok := peer.IDOf(conn); ok {
			fmt.Println("the stream is from a:", id == a.ID())
		}
		io.Copy(conn, conn)
	}()
	go b.Await(ctx, a.ID())

	if _, err := a.Await(ctx, b.ID()); err != nil {
		log.Fatal(err)
	}
	s, err := a.Dial(ctx, b.ID(), "echo") // over the session that is there now
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Fprint(s, "over a stream, and back")
	s.CloseWrite() // the end; reading goes on
	answer, err := io.ReadAll(s)
	if err != nil {
		log.Fatal(err) // a stream that was cut off never ends with io.EOF
	}
	fmt.Println(string(answer))
	// Output:
	// the stream is from a: true
	// over a stream, and back
}
