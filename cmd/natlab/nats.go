package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/peerd/peerd/punch/natlab"
)

// natsPart is the proof that the lab's NATs are what they are called.
var natsPart = claimsPart("nats", "NATs: what each profile of the lab looks like from outside",
	"A probe with sockets on a host and on the server's two addresses measured every profile, without a look at it; what it must find was written by hand.", natClaims)

// natClaims has one claim for each profile.
func natClaims() (claims []claim) {
	for _, p := range natlab.Profiles() {
		claims = append(claims, claim{"nat " + p.Name, p.Doc, nil, func(ctx context.Context, g ground) (finding, error) {
			return probeOften(ctx, p, figure(g, 1, wholeRuns))
		}})
	}
	return claims
}

// probesAtOnce is more than there are CPUs, because a probe mostly waits, and few
// enough for the sockets that each holds.
const probesAtOnce = 8

// probeOften compares a profile with what is expected of it.
func probeOften(ctx context.Context, p natlab.Profile, runs int) (finding, error) {
	want, found := natlab.Expectations()[p.Name], make([]natlab.Behaviour, runs)
	errs := make([]error, runs)
	var all sync.WaitGroup
	slots := make(chan struct{}, probesAtOnce)
	for i := range runs {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if errs[i] = ctx.Err(); errs[i] == nil {
				found[i], errs[i] = probeOnce(p, uint64(i))
			}
		})
	}
	all.Wait()
	equal := 0
	for i, b := range found {
		switch {
		case errs[i] != nil:
		case b == want:
			equal++
		default:
			errs[i] = fmt.Errorf("run %d found %v", i, b)
		}
	}
	return finding{Text: fmt.Sprintf("%d of %d runs found: %v", equal, runs, want)}, errors.Join(errs...)
}

func probeOnce(p natlab.Profile, seed uint64) (b natlab.Behaviour, err error) {
	cfg := natlab.Config{A: p, Seed: seed}
	if p.Shared != natlab.NotShared {
		cfg.B = p
	}
	lab, err := natlab.New(cfg)
	if err != nil {
		return b, err
	}
	defer lab.Close()
	return natlab.ProbeSlowly(lab, lab.A)
}
