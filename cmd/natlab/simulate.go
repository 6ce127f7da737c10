package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/sim"
)

// simPart is the proof in virtual time: every pair of NATs, far more often than the
// lab could, against what is expected and against the lab.
var simPart = proofPart{"sim", (*proof).mainSimLeft, (*proof).simulate}

// How many cases a pair has under each condition, in the proof. A guess takes
// hundreds of times as long as a plain dial.
const (
	simCases      = 900
	simGuessCases = 100
	simIPv6Cases  = 100
)

// simCondition is what all pairs are simulated under.
type simCondition struct {
	Loss float64
	IPv6 bool
}

var simConditions = []simCondition{{}, {Loss: 0.02}, {IPv6: true}}

// String names the condition in a heading.
func (c simCondition) String() string {
	switch {
	case c.IPv6:
		return "with IPv6 besides"
	case c.Loss > 0:
		return fmt.Sprintf("%v %% loss", 100*c.Loss)
	}
	return "no loss"
}

// cases is how many cases a pair has.
func (c simCondition) cases(e expectation) int {
	switch {
	case c.IPv6:
		return simIPv6Cases
	case e.Class == classRandom, e.Class == classBlock:
		return simGuessCases
	}
	return simCases
}

// simulated is a pair of NATs under one condition.
type simulated struct {
	A     string   `json:"a"`
	B     string   `json:"b"`
	Class class    `json:"class"`
	Loss  float64  `json:"loss"`
	IPv6  bool     `json:"ipv6,omitempty"`
	Seed  uint64   `json:"seed"` // of the first case; each has the next one
	Cases int      `json:"cases"`
	Good  int      `json:"direct"`
	Timed int      `json:"in_time"` // of these, within what the class asks for
	P50   float64  `json:"first_byte_median_ms,omitempty"`
	P95   float64  `json:"first_byte_p95_ms,omitempty"`
	Max   float64  `json:"first_byte_max_ms,omitempty"`
	Ended float64  `json:"longest_end_ms,omitempty"`
	Won   []string `json:"won,omitempty"`
	// Lab is how many runs of the lab's connected, of how many.
	Lab    *[2]int  `json:"lab,omitempty"`
	Misses []string `json:"misses,omitempty"`
	// Failed are the seeds of some cases that should have connected.
	Failed []uint64 `json:"failed,omitempty"`
}

func (s *simulated) condition() simCondition { return simCondition{s.Loss, s.IPv6} }

func (s *simulated) rate() float64 { return float64(s.Good) / float64(s.Cases) }

func (s *simulated) String() string { return fmt.Sprintf("%s × %s, %v", s.A, s.B, s.condition()) }

// mainSimLeft reports whether --only leaves anything of the simulation.
func (p *proof) mainSimLeft() bool { return len(p.simulations()) > 0 }

// simulations lists what is to be simulated.
func (p *proof) simulations() (list []*simulated) {
	for _, c := range simConditions {
		for _, a := range sim.Profiles() {
			for _, b := range sim.Profiles() {
				e, known := expectations.of(a.Name, b.Name)
				s := &simulated{A: a.Name, B: b.Name, Class: e.Class, Loss: c.Loss, IPv6: c.IPv6, Seed: uint64(len(list))<<32 + 1}
				if s.Cases = max(1, c.cases(e)*p.runs/wholeRuns); e.Class != classNone && known && p.wanted.MatchString(s.String()) {
					list = append(list, s)
				}
			}
		}
	}
	return list
}

// simulate runs all cases on all processors.
func (p *proof) simulate(ctx context.Context, _ ground, progress io.Writer) (proofReport, error) {
	lab, err := readMatrix(p.matrix)
	if err != nil {
		return nil, err
	}
	// Cases are garbage as soon as they are over, and there is memory enough.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	began := time.Now()
	rep := &simReport{Provenance: p.where, Matrix: lab.Provenance.Commit, Runs: lab.Runs, Pairs: p.simulations()}
	todo := make(chan *simulated)
	var tasks sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range runtime.NumCPU() {
		tasks.Go(func() {
			for s := range todo {
				s.run(ctx)
				s.compare(lab)
				mu.Lock()
				if done++; done%100 == 0 || len(s.Misses) > 0 {
					fmt.Fprintf(progress, "%d/%d %v: %s\n", done, len(rep.Pairs), s, s.words())
				}
				mu.Unlock()
			}
		})
	}
	for _, s := range rep.Pairs {
		select {
		case todo <- s:
		case <-ctx.Done():
		}
	}
	close(todo)
	tasks.Wait()
	rep.Took = sinceBegan(began)
	rep.sum(time.Since(began))
	return rep, ctx.Err()
}

// readMatrix reads what the lab has measured; nothing, if there is no such file.
func readMatrix(name string) (m matrixReport, err error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

// maxFailedSeeds bounds simulated.Failed.
const maxFailedSeeds = 5

// run simulates the pair's cases.
func (s *simulated) run(ctx context.Context) {
	a, errA := sim.ProfileByName(s.A)
	b, errB := sim.ProfileByName(s.B)
	if err := errors.Join(errA, errB); err != nil {
		s.Misses = append(s.Misses, err.Error())
		return
	}
	c := sim.Cell{A: a, B: b, RTT: matrixRTT, Loss: s.Loss, IPv6: s.IPv6, Told: true}
	r := pairResult{A: s.A, B: s.B, RTT: ms(matrixRTT), Loss: s.Loss}
	broken := make(map[string]bool)
	for n := range uint64(s.Cases) {
		if ctx.Err() != nil {
			return
		}
		result := sim.Run(c.Case(s.Seed + n))
		r.Runs = append(r.Runs, runOfCase(c, result))
		for _, problem := range result.Problems {
			broken[problem] = true
		}
		if !result.Direct && s.expected().connects() && len(s.Failed) < maxFailedSeeds {
			s.Failed = append(s.Failed, s.Seed+n)
		}
	}
	s.Good, s.Timed = r.direct(0), r.direct(demands[s.Class].Within)
	s.P50, s.P95, s.Ended, s.Won = r.firstByte(0.5), r.firstByte(0.95), r.longestEnd(), r.steps()
	s.Max = r.firstByte(1)
	s.judge(r)
	for problem := range broken {
		s.Misses = append(s.Misses, "a rule is broken: "+problem)
	}
}

// runOfCase is a case in the words of the matrix.
func runOfCase(c sim.Cell, r sim.Result) pairRun {
	if r.Direct {
		return pairRun{
			Direct: true, FirstByte: ms(c.FirstByte(r)),
			Won: victoryAt(&r.B.Party, r.A.Events, r.A.Remote), WonThere: victoryAt(&r.A.Party, r.B.Events, r.B.Remote),
		}
	}
	run := pairRun{Error: "no direct connection"}
	if r.A.Why != nil {
		run.Ended, run.Reason = ms(c.Ended(r)), r.A.Why.Error()
	}
	var hopeless *punch.HopelessError
	if errors.As(r.A.Why, &hopeless) {
		run.Reason = hopeless.Short()
	}
	return run
}
