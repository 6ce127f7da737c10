package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
)

// reportsPart is the proof of what nodes find out about their NATs.
var reportsPart = claimsPart("reports", "Reports: what a node finds out about its NATs",
	"The real `peerd doctor` measures with the help of the real `peerd serve`; what is true is the lab's own probe of the same NAT, which sees both sides of it.", reportClaims)

func reportClaims() []claim {
	return []claim{
		{"reports, two addresses", "with a server that has two addresses, reports equal the lab's configuration in every field, for every profile",
			nil, func(ctx context.Context, g ground) (finding, error) { return reports(ctx, g, true) }},
		{"reports, one address", "with a server that has one address, only the fields that need a second one are unknown besides, for every profile",
			nil, func(ctx context.Context, g ground) (finding, error) { return reports(ctx, g, false) }},
		{"reports, sequences", "the step of a sequence of ports is right, and the rate at which others take some of it is between half and twice what it is",
			nil, sequences},
	}
}

// sequences has a node behind NATs that count their ports, while others take some.
func sequences(ctx context.Context, g ground) (f finding, err error) {
	runs := figure(g, 2, 10)
	f.Table = &table{Head: []string{"step", "others a second", "right steps", "mean of the rates"}}
	for _, delta := range []int{1, 2, -1} {
		for _, others := range []float64{0, 50} {
			n := natlab.NAT{Mapping: natlab.APDM, Allocation: natlab.Allocation{Kind: natlab.Sequential, Delta: delta, Background: others}}
			right, rate, err := sequence(ctx, g, natlab.Custom(fmt.Sprintf("%d-%.0f", delta, others), n), runs)
			if err != nil {
				return f, err
			}
			f.Table.Rows = append(f.Table.Rows, []string{fmt.Sprint(delta), fmt.Sprint(others), fmt.Sprintf("%d of %d", right, runs), fmt.Sprintf("%.0f", rate)})
			if right*20 < runs*19 || g.whole && (rate < others/2 || rate > 2*others) {
				return f, fmt.Errorf("%d of %d steps of %d are right, and others take %.0f a second, not %.0f", right, runs, delta, rate, others)
			}
		}
	}
	return f, nil
}

// sequence returns how many reports have the right step, and the mean rate at
// which others take ports in these.
func sequence(ctx context.Context, g ground, p natlab.Profile, runs int) (right int, rate float64, err error) {
	for n := range runs {
		w, err := newProbedWorld(ctx, g.peerd, filepath.Join(g.dir, p.Name), p, false, uint64(n))
		if err != nil {
			return 0, 0, err
		}
		found, err := w.doctor(ctx)
		w.lab.Close()
		if err != nil {
			return 0, 0, err
		}
		if found.Allocation == "sequential" && found.Delta == p.NAT.Allocation.Delta {
			right++
			rate += found.Background
		}
	}
	return right, rate / float64(max(right, 1)), nil
}

// diagnosed are the fields of a report that are compared, by their names in JSON.
type diagnosed map[string]string

func diagnosedIn(n peer.NATStatus) diagnosed {
	return diagnosed{
		"mapping": n.Mapping, "allocation": n.Allocation, "pooling": n.Pooling, "filtering": n.Filtering, "unsolicited": n.Unsolicited,
		"crossing": n.Crossing, "on_reset": n.OnReset, "hairpin": n.Hairpin, "hops": fmt.Sprint(n.Hops), "proxied": n.Proxied, "poisoned": n.Poisoned,
	}
}

// differences lists what is not as it should be.
func (d diagnosed) differences(want diagnosed) string {
	var list []string
	for _, field := range slices.Sorted(maps.Keys(want)) {
		if d[field] != want[field] {
			list = append(list, fmt.Sprintf("%s is %s and not %s", field, d[field], want[field]))
		}
	}
	return strings.Join(list, ", ")
}

// The lab's terms in a report's.
var (
	reportedMapping = map[natlab.Mapping]proto.NATMapping{
		natlab.EIM: proto.MappingEndpointIndependent, natlab.ADM: proto.MappingAddressDependent,
		natlab.APDM: proto.MappingAddressPortDependent, natlab.PerConnection: proto.MappingPerConnection,
	}
	reportedAllocation = map[natlab.AllocationKind]proto.NATAllocation{
		natlab.Preserving: proto.AllocationPreserving, natlab.Sequential: proto.AllocationSequential,
		natlab.Block: proto.AllocationBlock, natlab.Random: proto.AllocationRandom,
	}
	reportedFiltering = map[natlab.Filtering]proto.NATFiltering{
		natlab.EIF: proto.FilteringEndpointIndependent, natlab.ADF: proto.FilteringAddressDependent, natlab.APDF: proto.FilteringAddressPortDependent,
	}
	reportedAnswer = map[natlab.Answer]proto.NATAnswer{
		natlab.Accepted: proto.AnswerAccepted, natlab.Silent: proto.AnswerDropped,
		natlab.Reset: proto.AnswerReset, natlab.Unreachable: proto.AnswerUnreachable,
	}
	reportedTruth  = map[bool]proto.NATTruth{false: proto.TruthNo, true: proto.TruthYes}
	reportedPolicy = map[natlab.ErrorPolicy]proto.NATErrorPolicy{
		natlab.Keep: proto.PolicyKeep, natlab.Delete: proto.PolicyDelete, natlab.DeleteAndBlock: proto.PolicyBlock,
	}
)

// expectedReport is what a node should find out, given what its NATs do. That is
// less than all of it where a node cannot know: who answers nothing does not tell
// which outside port it sees; nobody is kept out where everybody is let in; and what
// a NAT's own address answers does not matter where its mappings let everybody on to
// the next NAT.
func expectedReport(p natlab.Profile, b natlab.Behaviour, second bool) diagnosed {
	d := diagnosed{
		"mapping": "none", "allocation": "preserving", "pooling": "unknown", "hops": "1", "proxied": "no", "on_reset": "unknown",
		"filtering": reportedFiltering[b.Filtering].String(), "unsolicited": reportedAnswer[b.Unsolicited].String(),
		"crossing": reportedAnswer[b.InboundAfterOutbound].String(), "hairpin": reportedAnswer[b.Hairpin].String(), "poisoned": reportedTruth[b.Poisoned].String(),
	}
	if b.Filtering == natlab.EIF {
		d["unsolicited"] = "unknown"
	}
	foreseeable := b.Mapping == natlab.EIM || b.Mapping == natlab.ADM
	if b.Translated {
		d["mapping"], d["allocation"] = reportedMapping[b.Mapping].String(), reportedAllocation[b.Allocation].String()
		d["pooling"], d["hops"] = "paired", fmt.Sprint(b.NATs+1)
		switch {
		case !foreseeable:
			d["crossing"], d["poisoned"] = "unknown", "unknown"
		case b.Filtering == natlab.APDF && b.InboundAfterOutbound != natlab.Accepted:
			d["poisoned"] = "unknown" // it is not let in, whoever is first
		case b.Filtering == natlab.APDF && b.InboundAfterOutbound == natlab.Accepted:
			d["on_reset"] = reportedPolicy[onReset(b)].String()
		}
	}
	if p.Outer != nil {
		d["unsolicited"] = proto.AnswerReset.String() // the carrier's NAT lets everybody in, and openwrt behind it answers
	}
	if b.Pooling == natlab.Arbitrary {
		d["pooling"] = "arbitrary"
		delete(d, "allocation") // is judged by the few mappings that have one address
	}
	if b.Terminated {
		d["proxied"], d["hops"], d["hairpin"] = "yes", "0", "accepted" // at the first hop, whoever is dialled
	}
	if second {
		return d
	}
	if b.Translated && foreseeable {
		d["mapping"] = "unknown"
	}
	if b.Filtering != natlab.APDF {
		d["filtering"], d["unsolicited"] = "unknown", "unknown"
	}
	return d
}

// onReset is what a RST does as far as a node can see. A NAT that keeps the mapping,
// and a first SYN's sequence number for it, lets no other socket answer: the way in is
// as closed as if the mapping were gone.
func onReset(b natlab.Behaviour) natlab.ErrorPolicy {
	if b.OnRST == natlab.Keep && b.Tracking == natlab.Strict {
		return natlab.Delete
	}
	return b.OnRST
}

// reportRTT is the round trip between A and B, so twice that to the server.
const reportRTT = 40 * time.Millisecond

// sampledReports are the profiles of a sample: one for each thing that differs.
var sampledReports = []string{"public", "linux-open", "proxy", "rfc5382", "strict-no-so", "sym-seq", "rst-kill", "cgn-arbitrary", "cgn-eim", "double", "user-icmp", "dmz-poison"}

// reports has a node behind each profile say what it has found out, some times.
func reports(ctx context.Context, g ground, second bool) (f finding, err error) {
	profiles := natlab.Profiles()
	if !g.whole {
		profiles = slices.DeleteFunc(profiles, func(p natlab.Profile) bool { return !slices.Contains(sampledReports, p.Name) })
	}
	found := make([]reported, len(profiles))
	// Two at a time: what is measured should not wait for a processor.
	turns := make(chan struct{}, 2)
	var tasks sync.WaitGroup
	for i, p := range profiles {
		tasks.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			found[i] = reportsOf(ctx, g, p, second)
		})
	}
	tasks.Wait()
	f.Table = &table{Head: []string{"profile", "right", "median time", "the lab's own probe", "wrong"}}
	var errs []error
	right, all := 0, 0
	for _, r := range found {
		right, all = right+r.right, all+r.runs
		f.Table.Rows = append(f.Table.Rows, []string{r.profile, fmt.Sprintf("%d of %d", r.right, r.runs), fmt.Sprintf("%.2f s", r.median().Seconds()), r.truth, r.wrong})
		if r.err != nil || r.right < r.runs {
			errs = append(errs, fmt.Errorf("%s: %s %w", r.profile, r.wrong, errors.Join(r.err, errWrongReport)))
		}
	}
	f.Text = fmt.Sprintf("%d of %d reports are right, for %d profiles.", right, all, len(profiles))
	return f, errors.Join(errs...)
}

var errWrongReport = errors.New("(wrong report)")

// reported is what became of the reports behind a profile.
type reported struct {
	profile, truth string
	right, runs    int
	took           []time.Duration
	wrong          string // the first one
	err            error
}

func (r *reported) median() time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	slices.Sort(r.took)
	return r.took[len(r.took)/2]
}

// reportsOf runs doctor on A behind a profile, each time with another NAT and a
// server that has been asked nothing yet: it bounds how often it dials back.
func reportsOf(ctx context.Context, g ground, p natlab.Profile, second bool) (r reported) {
	r = reported{profile: p.Name, runs: figure(g, 1, 20)}
	var all []peer.NATStatus
	for n := range r.runs {
		w, err := newProbedWorld(ctx, g.peerd, filepath.Join(g.dir, p.Name), p, second, uint64(n))
		if err != nil {
			r.err = err
			return r
		}
		found, err := w.doctor(ctx)
		all = append(all, found)
		r.took = append(r.took, time.Duration(found.TookMS*float64(time.Millisecond)))
		if err == nil && n == r.runs-1 {
			err = r.judge(w, p, all, second)
		}
		w.lab.Close()
		if err != nil {
			r.err = err
			return r
		}
	}
	return r
}

// judge compares reports with what the lab's own probe finds.
func (r *reported) judge(w *world, p natlab.Profile, all []peer.NATStatus, second bool) error {
	truth, err := probeTwice(w.lab)
	if err != nil {
		return err
	}
	r.truth = truth.String()
	want := expectedReport(p, truth, second)
	for _, n := range all {
		if wrong := diagnosedIn(n).differences(want); wrong == "" {
			r.right++
		} else if r.wrong == "" {
			r.wrong = wrong
		}
	}
	return nil
}

// probeTwice returns what the lab's own probe finds, if it finds the same twice: on
// a busy machine it may take what comes late for silence. Whether a NAT limits its
// answers differs, because the first probe has used them up.
func probeTwice(lab *natlab.Lab) (natlab.Behaviour, error) {
	first, err := natlab.Probe(lab, lab.A)
	if err != nil {
		return first, err
	}
	if first.Limited {
		return first, nil
	}
	for range 2 {
		again, err := natlab.Probe(lab, lab.A)
		if err != nil || again == first {
			return first, err
		}
		first = again
	}
	return first, errors.New("the lab's own probe finds something else each time")
}

// newProbedWorld starts peerd serve with two probe ports, on one address or two.
func newProbedWorld(ctx context.Context, peerd, dir string, p natlab.Profile, second bool, seed uint64) (w *world, err error) {
	w = &world{peerd: peerd, dir: dir}
	cfg := natlab.Config{A: p, RTT: reportRTT, Seed: seed}
	if p.Shared != natlab.NotShared {
		cfg.B = p
	}
	if w.lab, err = natlab.New(cfg); err != nil {
		return nil, err
	}
	addr := w.lab.Server.Addr().String()
	args := []string{"serve", "--listen", addr + ":7878", "--probe-listen", addr + ":7879", "--probe-listen", addr + ":7880"}
	if second {
		args = append(args, "--probe-addr", w.lab.Server.Alternate().String())
	}
	w.serves = w.command(ctx, w.lab.Server, "server", args...)
	if w.url, _, err = ready(w.serves); err != nil {
		w.lab.Close()
		return nil, err
	}
	return w, nil
}

// doctor runs peerd doctor on A.
func (w *world) doctor(ctx context.Context) (n peer.NATStatus, err error) {
	out, err := w.command(ctx, w.lab.A, "a", "doctor", "--json").Output()
	if err != nil {
		return n, fmt.Errorf("peerd doctor: %w", err)
	}
	var answer struct {
		NAT peer.NATStatus `json:"nat"`
	}
	return answer.NAT, json.Unmarshal(out, &answer)
}
