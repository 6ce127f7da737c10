package peer

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch"
)

func TestGuessesAreRare(t *testing.T) {
	var g guesses
	begin := time.Unix(1_000_000_000, 0)
	steps := []struct {
		after time.Duration
		where string
		ok    bool
	}{
		{0, "home", true},
		{time.Second, "home", false},
		{59 * time.Minute, "home", false},
		{time.Hour, "home", true},
		{61 * time.Minute, "home", false},
		{62 * time.Minute, "train", true},
		{63 * time.Minute, "train", false},
		{64 * time.Minute, "home", false}, // and back
		{65 * time.Minute, "there", true},
		{66 * time.Minute, "somewhere", true},
		{67 * time.Minute, "elsewhere", false}, // says who?
		{119 * time.Minute, "elsewhere", false},
		{2 * time.Hour, "elsewhere", true},
		{2*time.Hour + time.Minute, "home", false},
		{2*time.Hour + 2*time.Minute, "home", true},
	}
	for _, s := range steps {
		err := g.allow(at(begin.Add(s.after)), s.where)
		var guessed *GuessedError
		if s.ok != (err == nil) || !s.ok && (!errors.As(err, &guessed) || guessed.Again <= 0 || guessed.Again > time.Hour) {
			t.Errorf("after %v at %s: %v", s.after, s.where, err)
		}
	}
}

// keptGuesses is a file.
type keptGuesses struct {
	text  []byte
	fails error
}

func (k *keptGuesses) edit(change func([]byte) ([]byte, error)) error {
	if k.fails != nil {
		return k.fails
	}
	text, err := change(k.text)
	if err == nil {
		k.text = text
	}
	return err
}

func TestGuessesAreKept(t *testing.T) {
	var file keptGuesses
	now := time.Unix(1_000_000_000, 0)
	var guessed *GuessedError
	first, second := guesses{keep: file.edit}, guesses{keep: file.edit}
	if err := first.allow(at(now), "192.168.1.7 198.51.100.1"); err != nil {
		t.Fatal(err)
	}
	if err := second.allow(at(now.Add(time.Minute)), "192.168.1.7 198.51.100.1"); !errors.As(err, &guessed) || guessed.Again != 59*time.Minute {
		t.Errorf("another process: %v", err)
	}
	if err := second.allow(at(now.Add(time.Minute)), "10.0.0.7 198.51.100.1"); err != nil {
		t.Errorf("elsewhere: %v", err)
	}
	if bytes.Contains(file.text, []byte("192.168")) || bytes.Contains(file.text, []byte("198.51")) {
		t.Errorf("the file says where its owner was: %s", file.text)
	}
	if err := second.allow(at(now.Add(-24*time.Hour)), "10.0.0.7 198.51.100.1"); err != nil {
		t.Errorf("after the clock was set back: %v", err)
	}
	file.text = []byte("[]garbage")
	if err := first.allow(at(now.Add(2*time.Hour)), "192.168.1.7 198.51.100.1"); err != nil || !json.Valid(file.text) {
		t.Errorf("over garbage: %v, %q", err, file.text)
	}
	file.fails = errors.New("read only")
	if err := first.allow(at(now.Add(4*time.Hour)), "192.168.1.7 198.51.100.1"); err != file.fails {
		t.Errorf("without a file: %v", err)
	}
	if err := first.allow(at(now.Add(4*time.Hour)), "192.168.1.7 198.51.100.1"); !errors.As(err, &guessed) {
		t.Errorf("again without a file: %v, want what the process knows", err)
	}
}

// Many introductions may ask at the same moment.
func TestOneGuessOfMany(t *testing.T) {
	for range 100 {
		var g guesses
		var asking sync.WaitGroup
		var allowed atomic.Int32
		for range 16 {
			asking.Go(func() {
				if g.allow(func() time.Time { return time.Now().Round(0) }, "192.168.1.7 198.51.100.1") == nil {
					allowed.Add(1)
				}
			})
		}
		if asking.Wait(); allowed.Load() != 1 {
			t.Fatalf("%d of them are allowed", allowed.Load())
		}
	}
}

// at is a clock that stands still.
func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func TestNoGuess(t *testing.T) {
	n := &Node{cfg: Config{NoGuess: true}.withDefaults()}
	if err := n.allowGuess(); err != ErrNoGuess {
		t.Errorf("allowGuess = %v", err)
	}
	n.cfg.NoGuess = false
	if err := n.allowGuess(); err != nil {
		t.Errorf("the first guess: %v", err)
	}
	if err := n.allowGuess(); err == nil {
		t.Error("a second guess at once")
	}
}

// A node that guesses no ports says so to its peers, whoever asks.
func TestNoGuessIsStated(t *testing.T) {
	for _, asks := range []bool{false, true} {
		url, key := startServer(t), identity.Generate()
		b := watch(t, Config{Server: url, NoGuess: !asks, Answer: true, Allow: []proto.ID{key.ID()}, Expose: map[string]string{"echo": startEcho(t)}})
		a := watch(t, Config{Server: url, NoGuess: asks, Key: key})
		echoed(t, a.Node, b.ID())
		tr := a.of(Introduced)[0].Transcript
		if tr.Initiator.NoGuess != asks || tr.Responder.NoGuess == asks {
			t.Errorf("the initiator guesses none %t, and the responder %t", tr.Initiator.NoGuess, tr.Responder.NoGuess)
		}
	}
}

// Whoever calls a peer that cannot be reached hears why, at once.
func TestHopelessMeetingSaysWhy(t *testing.T) {
	n := startNode(t, Config{Server: startServer(t), Answer: true})
	intro := introductionTo(n, proto.ID{1})
	random := &proto.NATReport{Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationRandom, Filtering: proto.FilteringAddressPortDependent}
	intro.Transcript.Responder.PortMode = proto.PortShared
	intro.Transcript.Initiator.NAT, intro.Transcript.Responder.NAT = random, random
	intro.Transcript.Initiator.Observed = proto.NewCandidate(netip.MustParseAddrPort("127.0.0.2:1"), proto.Observed, 0)
	intro.Transcript.Initiator.RTT, intro.Transcript.Responder.RTT = 1000, 1000
	_, err := n.meet(intro).await(within(t, 2*time.Second))
	var dial *DialError
	var hopeless *punch.HopelessError
	if !errors.As(err, &dial) || dial.Phase != PhasePunch || len(dial.Attempts) == 0 || !errors.Is(err, ErrNoDirect) || !errors.As(err, &hopeless) || hopeless.Reason != punch.BothUnpredictable {
		t.Errorf("the meeting has ended with %v", err)
	}
}
