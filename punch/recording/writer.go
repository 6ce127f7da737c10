package recording

import (
	"encoding/json"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// Writer writes a recording. Its methods are safe for concurrent use; an error of
// writing is kept, and nothing follows it.
type Writer struct {
	mu     sync.Mutex
	enc    *json.Encoder
	err    error
	open   bool         // an attempt has begun and has no result yet
	began  time.Time    // when it did
	far    *proto.Party // of the introduction; nil before
	events []punch.Event
}

// NewWriter writes the first line.
func NewWriter(w io.Writer, program string, peer proto.ID) *Writer {
	r := &Writer{enc: json.NewEncoder(w)}
	r.write(Line{Type: typeHead, Time: time.Now(), Head: &Head{Version: Version, Program: program, Peer: peer.String()}})
	return r
}

func (w *Writer) write(l Line) {
	l.Time = l.Time.UTC()
	if w.err == nil {
		w.err = w.enc.Encode(l)
	}
}

// Err returns the first error of writing.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Begin notes that this side asks for an introduction at a time.
func (w *Writer) Begin(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(at)
}

func (w *Writer) begin(at time.Time) {
	if !w.open {
		w.open, w.began = true, at
	}
}

// Introduced notes what the server has told.
func (w *Writer) Introduced(at time.Time, role proto.Role, t *proto.Transcript) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(at)
	w.far, w.events = t.Party(role.Peer()), nil
	w.write(Line{Type: typeIntroduction, Time: at, Introduction: &Introduction{
		Role: role.String(), PlanVersion: t.PlanVersion, Initiator: partyOf(&t.Initiator), Responder: partyOf(&t.Responder),
	}})
}

func partyOf(p *proto.Party) Party {
	party := Party{
		ID: p.ID.String(), RTT: p.RTT, Observed: addrPort(p.Observed.Addr), Candidates: []Candidate{},
		PortMode: p.PortMode.String(), NAT: NATOf(p.NAT), NoGuess: p.NoGuess,
	}
	for _, c := range p.Candidates {
		party.Candidates = append(party.Candidates, Candidate{c.Kind.String(), addrPort(c.Addr)})
	}
	return party
}

// Punched notes an event.
func (w *Writer) Punched(at time.Time, e punch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	line := &Event{At: e.At.Microseconds(), Attempt: e.Attempt, What: e.Kind.String(), Address: addrPort(e.To.Addr), Idea: e.Idea.String(), Dials: e.Dials}
	if e.To.Addr.IsValid() {
		line.Kind = e.To.Kind.String()
	}
	if e.Err != nil {
		line.Errno, line.Error = reuse.ErrnoName(e.Err), e.Err.Error()
	}
	w.write(Line{Type: typeEvent, Time: at, Event: line})
}

// Connected ends the attempt with a connection.
func (w *Writer) Connected(at time.Time, remote netip.AddrPort, rtt time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &Result{Connected: true, Remote: addrPort(remote), RTTMS: milliseconds(rtt)}
	if e, found := punch.Winner(w.events, remote); found && w.far != nil {
		r.Won = WonBy(w.far, e)
	}
	w.end(at, r)
}

// WonBy is the attempt that an event of punching has proven; see punch.Winner.
func WonBy(far *proto.Party, e punch.Event) *Won {
	won := &Won{How: "dialled", Kind: punch.KindOf(far, e), Idea: e.Idea.String(), Attempt: e.Attempt}
	if e.Kind == punch.Accepted {
		won.How = "accepted"
	}
	return won
}

// Failed ends the attempt without one. If none is open, it does nothing.
func (w *Writer) Failed(at time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(at, &Result{Failure: err.Error()})
}

func (w *Writer) end(at time.Time, r *Result) {
	if !w.open {
		return
	}
	r.TookMS = milliseconds(at.Sub(w.began))
	w.open = false
	w.write(Line{Type: typeResult, Time: at, Result: r})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
