package punch

import (
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000_000, 0)

// However a target asks, no second sees more than 100 SYNs of its pace. The
// first dial of a target does not ask: one more.
func TestPaceNeverAbove100InAnySecond(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		now := epoch
		p := newPace(now)
		sent := []time.Time{now}
		for range 2000 {
			idle := time.Duration(r.ExpFloat64() * float64([...]time.Duration{0, time.Millisecond, 20 * time.Millisecond}[r.IntN(3)]))
			if r.IntN(200) == 0 {
				idle = 2 * time.Second
			}
			now = now.Add(idle)
			now = now.Add(p.take(now, 1))
			sent = append(sent, now)
		}
		for i := 100; i < len(sent); i++ {
			if d := sent[i].Sub(sent[i-100]); d <= time.Second {
				t.Fatalf("seed %d: 101 SYNs in %v", seed, d)
			}
		}
	}
}

func TestPaceBurstThenSteady(t *testing.T) {
	p := newPace(epoch)
	for i := range paceBurst {
		if d := p.take(epoch, 1); d != 0 {
			t.Fatalf("SYN %d waits %v", i, d)
		}
	}
	if d, want := p.take(epoch, 1), time.Second/paceRate; d != want {
		t.Errorf("the one after the burst waits %v, want %v", d, want)
	}
}

func TestBudget(t *testing.T) {
	b := NewBudget(epoch)
	for range budgetBurst {
		if !b.takeLocked(epoch, 1) {
			t.Fatal("empty too early")
		}
	}
	if b.takeLocked(epoch, 1) {
		t.Fatal("not empty")
	}
	if b.takeLocked(epoch.Add(-time.Hour), 1) {
		t.Error("an earlier time fills it")
	}
	later := epoch.Add(50 * time.Millisecond)
	for i := range 10 {
		if !b.takeLocked(later, 1) {
			t.Fatalf("only %d after 50 ms", i)
		}
	}
	if b.takeLocked(later, 1) {
		t.Error("more than 200 a second")
	}
	b.Return(3)
	if !b.takeLocked(later, 3) || b.takeLocked(later, 1) {
		t.Error("returned SYNs are not what is there")
	}
	b.charge(later, 40)
	if b.takeLocked(later.Add(200*time.Millisecond), 1) {
		t.Error("what has left already was not counted")
	}
	b.Return(10 * budgetBurst)
	if !b.takeLocked(later, budgetBurst) || b.takeLocked(later, 1) {
		t.Error("holds more than its burst")
	}
}

func TestNilBudgetIsWithoutBounds(t *testing.T) {
	var b *Budget
	b.Return(1)
	b.charge(epoch, 1)
	for range 2 * maxConnecting {
		if _, ok := b.dial(address(1), epoch); !ok || !b.hasRoom(leftBySalvos) {
			t.Fatal("bounded")
		}
	}
}
