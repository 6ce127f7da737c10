package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch"
)

// An agent is this program started again inside a host of the lab. It runs one
// node at a time for its conductor, which speaks to it by JSON lines on its
// standard input and output. It first says hello with its ID.

// order is what the conductor says.
type order struct {
	Op     string // start, connect, send, serve, browse, events, diary, close
	Server string // start
	Answer bool   // start
	Allow  []proto.ID
	Expose map[string]string // start: more targets
	Study  bool              // start: "registered" is only said when the node has measured its NATs
	// Freeze has the agent stop itself (SIGSTOP) when it has the transcript and
	// has sent nothing yet; whoever reads "frozen" is to continue it.
	Freeze bool
	Peer   proto.ID // connect, send, browse
	Size   int64    // send, browse: bytes
	Count  int      // browse: files
	Seed   byte     // send: of the bytes
}

// report is what the agent says.
type report struct {
	Event    string // hello, registered, frozen, connected, failed, byte, sent, progress, received, serving, browsed, events, diary, closed
	ID       proto.ID
	At       int64 // nanoseconds of the system's monotonic clock
	Took     time.Duration
	Path     string
	Error    string
	Attempts []string       // punching events, for failed and events
	Reason   string         // failed: why the pair is hopeless or has no direct connection; "" for other faults
	Won      victory        // connected, byte: how the session's connection came about at this side
	Port     uint16         // registered: the node's local port
	Observed netip.AddrPort // registered: as the server sees it
	Mode     string         // registered: how the port is used
	Bytes    int64          // sent, progress, received
	Sum      string         // sent, received: SHA-256
	Diary    diary          // diary
	Guesses  int            // events: how often ports were guessed, here or for this side
}

// agentTarget is the target that every agent exposes: a server that reports
// when its first byte arrives.
const agentTarget = "clock"

// agent is the state of an agent process.
type agent struct {
	key    *identity.Key
	clock  net.Listener
	files  net.Listener
	out    sync.Mutex
	enc    *json.Encoder
	freeze bool
	node   *peer.Node
	mu     sync.Mutex
	far    *proto.Party // the peer, as the latest introduction has it
	events []punch.Event
	diary  diary
	made   chan struct{} // closed when a session is made
	once   *sync.Once    // closes made
}

// runAgent serves its conductor until the standard input ends.
func runAgent(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	files, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a := &agent{key: identity.Generate(), clock: l, files: files, enc: json.NewEncoder(out)}
	go a.serveClock()
	go a.serveFiles(files)
	a.say(report{Event: "hello", ID: a.key.ID()})
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		a.obey(o)
	}
	return lines.Err()
}

func (a *agent) say(r report) {
	a.out.Lock()
	defer a.out.Unlock()
	if r.At == 0 {
		r.At = monotonic()
	}
	a.enc.Encode(r)
}

func (a *agent) obey(o order) {
	switch o.Op {
	case "start":
		a.start(o)
	case "connect":
		go a.connect(o.Peer)
	case "send":
		go a.sendFile(o)
	case "serve":
		go a.serve()
	case "browse":
		go a.browse(o)
	case "diary":
		go a.tellDiary()
	case "events":
		a.mu.Lock()
		a.say(report{Event: "events", Attempts: lines(a.events[max(0, len(a.events)-maxEvents):]), Guesses: guessesIn(a.events)})
		a.mu.Unlock()
	case "close":
		a.node.Close()
		a.say(report{Event: "closed"})
	}
}

// maxEvents bounds the events of a report. A hostile server can cause any number.
const maxEvents = 2000

// guessesIn counts the times that guessing has begun.
func guessesIn(events []punch.Event) (n int) {
	for _, e := range events {
		if e.Kind == punch.Aimed && (e.Idea == punch.Guess || e.Idea == punch.Spread) {
			n++
		}
	}
	return n
}

func (a *agent) start(o order) {
	url, err := proto.ParseServerURL(o.Server)
	if err != nil {
		a.fail(err)
		return
	}
	a.freeze, a.far, a.events = o.Freeze, nil, nil
	a.diary, a.made, a.once = nil, make(chan struct{}), new(sync.Once)
	node, err := peer.New(peer.Config{
		Key: a.key, Server: url, Answer: o.Answer, Allow: o.Allow, Events: a.see,
		Expose: a.targets(o.Expose),
	})
	a.mu.Lock()
	a.node = node
	a.mu.Unlock()
	if err == nil {
		err = a.node.Start(context.Background())
	}
	if err == nil && o.Study {
		a.node.Study(context.Background()) // who can't measure connects without a report
	}
	if err != nil {
		a.fail(err)
		return
	}
	a.say(report{Event: "registered", Port: a.node.Port(), Observed: a.node.Observed(), Mode: a.node.Status().PortMode})
}

// targets are the agent's own and more.
func (a *agent) targets(more map[string]string) map[string]string {
	all := map[string]string{agentTarget: a.clock.Addr().String(), fileTarget: a.files.Addr().String()}
	maps.Copy(all, more)
	return all
}

// see keeps the punching events, and freezes the process where that is asked.
func (a *agent) see(e peer.Event) {
	a.note(e)
	if e.Kind == peer.Introduced {
		a.mu.Lock()
		a.far = e.Transcript.Party(e.Role.Peer())
		a.mu.Unlock()
	}
	switch {
	case e.Kind == peer.Punch:
		a.mu.Lock()
		a.events = append(a.events, e.Punch)
		a.mu.Unlock()
	case e.Kind == peer.Introduced && a.freeze:
		a.say(report{Event: "frozen"})
		stopSelf()
	}
}

// connectLimit is longer than any plan of the lab.
const connectLimit = 40 * time.Second

// connect opens a stream and writes one byte as soon as that is possible.
func (a *agent) connect(id proto.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), connectLimit)
	defer cancel()
	began := monotonic()
	s, err := a.node.Dial(ctx, id, agentTarget)
	if err != nil {
		a.failed(err, time.Duration(monotonic()-began))
		return
	}
	if _, err := s.Write([]byte{'!'}); err != nil {
		a.fail(err)
		return
	}
	session, err := a.node.Connect(ctx, id)
	if err == nil {
		err = s.Opened()
	}
	if err != nil {
		a.fail(err)
		return
	}
	took := time.Duration(monotonic() - began)
	path := session.Path()
	a.say(report{Event: "connected", At: began, Took: took, Path: string(path.Kind), Won: a.won(path.Remote)})
}

func (a *agent) fail(err error) { a.failed(err, 0) }

// failed reports a failure, and how long it took to know of it.
func (a *agent) failed(err error, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.say(report{Event: "failed", Error: err.Error(), Took: took, Reason: reasonOf(err), Attempts: lines(a.events)})
}

// serveClock reports when the first byte of each connection arrives.
func (a *agent) serveClock() {
	for {
		c, err := a.clock.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
				a.say(report{Event: "byte", At: monotonic(), Won: a.wonLast()})
				io.Copy(io.Discard, c)
			}
		}()
	}
}

// agentError is what an agent has to say of a run that failed, with its attempts.
type agentError struct {
	side   string
	report report
}

// Error implements error.
func (e *agentError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s\n  %s", e.side, e.report.Error, strings.Join(e.report.Attempts, "\n  ")))
}

// agentArg starts the program as an agent.
const agentArg = "agent"

// agentProgram is the program to start agents from; empty is this one.
var agentProgram string

func executable() string {
	if agentProgram != "" {
		return agentProgram
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}
