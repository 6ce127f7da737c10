package rendezvous

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// The server passes each side's port mode on, also one that it does not know, by
// whatever message it was stated last.
func TestPortModesReachTheTranscript(t *testing.T) {
	for name, consent := range map[string]func(s *stage, b *actor, o *proto.Offer){
		"by answer": func(s *stage, b *actor, o *proto.Offer) {
			s.r.answer(b.member, &proto.Answer{Introduction: o.Introduction, Accept: true, PortMode: 77}, s.now)
		},
		"by a request of its own": func(s *stage, b *actor, _ *proto.Offer) {
			s.r.introduce(b.member, &proto.Introduce{Request: 9, Peer: testID("alice"), PortMode: 77}, s.now)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, ServerConfig{})
			a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
			s.r.introduce(a.member, &proto.Introduce{Request: 5, Peer: testID("bob"), PortMode: proto.PortSequential}, s.now)
			consent(s, b, b.got()[0].(*proto.Offer))
			in := a.got()[0].(*proto.Introduction)
			tr, err := proto.ParseTranscript(in.Transcript)
			if err != nil || tr.Initiator.PortMode != proto.PortSequential || tr.Responder.PortMode != 77 {
				t.Errorf("modes %v and %v, %v", tr.Initiator.PortMode, tr.Responder.PortMode, err)
			}
		})
	}
}

// The server passes on who guesses no ports, by whatever message it was stated.
func TestNoGuessReachesTheTranscript(t *testing.T) {
	for name, consent := range map[string]func(s *stage, b *actor, o *proto.Offer){
		"by answer": func(s *stage, b *actor, o *proto.Offer) {
			s.r.answer(b.member, &proto.Answer{Introduction: o.Introduction, Accept: true, NoGuess: true}, s.now)
		},
		"by a request of its own": func(s *stage, b *actor, _ *proto.Offer) {
			s.r.introduce(b.member, &proto.Introduce{Request: 9, Peer: testID("alice"), NoGuess: true}, s.now)
		},
		"not at all": func(s *stage, b *actor, o *proto.Offer) {
			s.r.answer(b.member, &proto.Answer{Introduction: o.Introduction, Accept: true}, s.now)
		},
	} {
		for _, asks := range []bool{false, true} {
			s := newStage(t, ServerConfig{})
			a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
			s.r.introduce(a.member, &proto.Introduce{Request: 5, Peer: testID("bob"), NoGuess: asks}, s.now)
			consent(s, b, b.got()[0].(*proto.Offer))
			tr, err := proto.ParseTranscript(a.got()[0].(*proto.Introduction).Transcript)
			if err != nil || tr.Initiator.NoGuess != asks || tr.Responder.NoGuess != (name != "not at all") {
				t.Errorf("%s: %v and %v, %v", name, tr.Initiator.NoGuess, tr.Responder.NoGuess, err)
			}
		}
	}
}

// A client that is busy is not one that refuses; nothing else is passed on.
func TestBusyReachesTheAsker(t *testing.T) {
	for code, want := range map[proto.Code]proto.Code{
		proto.CodeBusy: proto.CodeBusy, proto.CodeOK: proto.CodeRefused, proto.CodeOffline: proto.CodeRefused, 9999: proto.CodeRefused,
	} {
		s := newStage(t, ServerConfig{})
		a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
		s.r.introduce(a.member, &proto.Introduce{Request: 5, Peer: testID("bob")}, s.now)
		o := b.got()[0].(*proto.Offer)
		s.r.answer(b.member, &proto.Answer{Introduction: o.Introduction, Code: code}, s.now)
		if got := a.got()[0].(*proto.Declined); got.Code != want {
			t.Errorf("%v reached the asker as %v, want %v", code, got.Code, want)
		}
	}
}

// Whoever needs its port for punching closes its registration as soon as it has
// the introduction. That takes nothing back, and what is asked of it meanwhile
// waits for as long as it has said that it would be away.
func TestRegistrationClosedAfterTheIntroduction(t *testing.T) {
	s := newStage(t, ServerConfig{RestartGrace: 3 * time.Second})
	away := policy{answers: true, away: 15 * time.Second}
	a, b, c := s.enter("alice", 1, answersNo), s.enter("bob", 2, away), s.enter("carol", 3, answersNo)
	s.r.introduce(a.member, &proto.Introduce{Request: 5, Peer: testID("bob")}, s.now)
	o := b.got()[0].(*proto.Offer)
	s.r.answer(b.member, &proto.Answer{Introduction: o.Introduction, Accept: true}, s.now)
	if len(a.got()) != 1 || len(b.got()) != 1 {
		t.Fatal("not introduced")
	}
	s.r.leave(b.member, s.now)
	s.r.leave(a.member, s.now)
	s.r.introduce(c.member, &proto.Introduce{Request: 6, Peer: testID("bob")}, s.now)
	s.pass(12 * time.Second)
	if got := append(c.got(), a.got()...); len(got) != 0 {
		t.Errorf("while bob is away: %s", transcript(got))
	}
	again := s.enterSilently("bob", 2, away)
	if got := again.got(); len(got) != 1 {
		t.Fatalf("bob is back: %s", transcript(got))
	} else if o := got[0].(*proto.Offer); o.Initiator != testID("carol") {
		t.Errorf("offered %v", o)
	}
}

// A client that is away for good is offline once its time is over.
func TestAwayIsBounded(t *testing.T) {
	s := newStage(t, ServerConfig{RestartGrace: 3 * time.Second})
	b, c := s.enter("bob", 2, policyOf(&proto.Register{Answers: true, Away: 60_000})), s.enter("carol", 3, answersNo)
	s.r.leave(b.member, s.now)
	s.r.introduce(c.member, &proto.Introduce{Request: 6, Peer: testID("bob")}, s.now)
	s.pass(proto.MaxWait - time.Second)
	if got := c.got(); len(got) != 0 {
		t.Errorf("too early: %s", transcript(got))
	}
	s.pass(2 * time.Second)
	if got := c.got(); len(got) != 1 || got[0].(*proto.Declined).Code != proto.CodeOffline {
		t.Errorf("then: %s", transcript(got))
	}
}

// Suspend leaves no connection and makes none; requests outlive it.
func TestSuspend(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		wire := &gatekeeper{dial: w.dial}
		dials := 0
		cfg := w.nodeConfig()
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			dials++
			return wire.Dial(ctx)
		}
		cfg.PortMode = proto.PortSequential
		cfg.Candidates = func() []proto.Candidate { return []proto.Candidate{hostCandidate("192.168.1.3:4001")} }
		a := runNode(t, cfg)
		a.await(t, true)
		a.Suspend()
		if _, err := wire.last.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection after Suspend: %v", err)
		}
		if s := a.await(t, false); !s.Suspended || s.Err != nil {
			t.Errorf("state %+v", s)
		}
		a.Suspend() // as often as one likes
		cfgB := w.nodeConfig()
		cfgB.Answers = true
		b := runNode(t, cfgB)
		b.await(t, true)
		got := make(chan Introduction, 1)
		go func() {
			in, err := a.Introduce(t.Context(), b.key.ID(), []proto.Candidate{hostCandidate("192.168.1.2:4000")})
			if err != nil {
				t.Error(err)
			}
			got <- in
		}()
		time.Sleep(time.Minute)
		if dials != 1 {
			t.Errorf("%d dials while suspended", dials-1)
		}
		before := time.Now()
		a.Resume()
		a.Resume()
		in := <-got
		if since := time.Since(before); since > 2*time.Second {
			t.Errorf("introduced after %v", since)
		}
		own := in.Transcript.Initiator
		if own.PortMode != proto.PortSequential || len(own.Candidates) != 1 || own.Candidates[0] != hostCandidate("192.168.1.3:4001") {
			t.Errorf("it states %+v", own)
		}
		if dials != 2 {
			t.Errorf("%d dials", dials)
		}
	})
}

// A client that is suspended from the start, or while it registers, ends with its
// context.
func TestSuspendedClientEnds(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		cfg := w.nodeConfig()
		dialling := make(chan struct{})
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		n := runNode(t, cfg)
		<-dialling
		n.Suspend()
		n.stop()
		if err := <-n.ran; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		n.Resume()
	})
}

// TestSuspendedClientHasNoOldBackoff guards against a pause that failures from before
// a long registration have made long.
func TestSuspendedClientHasNoOldBackoff(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		var down atomic.Bool
		cfg := w.nodeConfig()
		dial := cfg.Dial
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			if down.Load() {
				return nil, errors.New("down")
			}
			return dial(ctx)
		}
		down.Store(true)
		n := runNode(t, cfg)
		time.Sleep(10 * time.Minute)
		down.Store(false)
		n.await(t, true)
		time.Sleep(2 * lasting)
		down.Store(true)
		n.Suspend()
		n.await(t, false)
		n.Resume()
		if s := n.await(t, false); s.Retry > firstRetry {
			t.Errorf("after that, a pause of %v", s.Retry)
		}
	})
}
