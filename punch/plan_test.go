package punch

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/peerd/peerd/proto"
)

var update = flag.Bool("update", false, "write the golden plans anew")

// golden is one file of testdata/plans: a transcript, and the plan that every
// build must make of it.
type golden struct {
	Doc        string           `json:"doc"`
	Transcript proto.Transcript `json:"transcript"`
	Plan       *Plan            `json:"plan"`
}

func candidate(kind proto.Kind, addr string, preferred uint16) proto.Candidate {
	return proto.NewCandidate(netip.MustParseAddrPort(addr), kind, preferred)
}

func host(addr string, preferred uint16) proto.Candidate {
	return candidate(proto.Host, addr, preferred)
}

// transcript is one of a and b, which are observed there, with these round
// trips in microseconds.
func transcript(a, b string, rttA, rttB uint32) proto.Transcript {
	return proto.Transcript{
		Introduction: proto.Token{1}, PlanVersion: 1,
		Initiator: proto.Party{ID: proto.ID{1}, Instance: proto.Token{1}, RTT: rttA, Observed: candidate(proto.Observed, a, 0)},
		Responder: proto.Party{ID: proto.ID{2}, Instance: proto.Token{2}, RTT: rttB, Observed: candidate(proto.Observed, b, 0)},
	}
}

func with(t proto.Transcript, a, b []proto.Candidate) proto.Transcript {
	t.Initiator.Candidates, t.Responder.Candidates = a, b
	return t
}

// modes makes a transcript one of version 2, between two sides with these modes.
func modes(t proto.Transcript, a, b proto.PortMode) proto.Transcript {
	t.PlanVersion = 2
	t.Initiator.PortMode, t.Responder.PortMode = a, b
	return t
}

// latest makes a transcript one of version 3.
func latest(t proto.Transcript) proto.Transcript {
	t.PlanVersion = 3
	return t
}

const obsA, obsB = "198.51.100.1:4000", "192.0.2.1:5000"

// lan is a transcript of two peers behind one NAT, with that many host candidates.
func lan(a, b int) proto.Transcript {
	return with(transcript(obsA, "198.51.100.1:4001", 10_000, 10_000), hosts("192.168.1.1%d:4000", a), hosts("192.168.1.2%d:4001", b))
}

// v6 is a transcript of two peers with that many global IPv6 addresses.
func v6(a, b int) proto.Transcript {
	return with(transcript(obsA, obsB, 20_000, 20_000), hosts("[2001:db8::a%d]:4000", a), hosts("[2001:db8::b%d]:5000", b))
}

func slow(t proto.Transcript) proto.Transcript {
	t.Initiator.RTT, t.Responder.RTT = maxRTT, maxRTT
	return t
}

func hosts(format string, n int) (list []proto.Candidate) {
	for i := range n {
		list = append(list, host(fmt.Sprintf(format, i), uint16(n-i)))
	}
	return list
}

// goldens are the transcripts; the plans stand in the files.
func goldens() map[string]golden {
	full := func(prefix string, port string) (list []proto.Candidate) {
		for i := range proto.MaxHostCandidates {
			list = append(list, host(prefix+string(rune('1'+i))+":"+port, uint16(100-i)))
		}
		return list
	}
	return map[string]golden{
		"observed": {Doc: "two IPv4 peers behind different NATs: one step each; private host candidates are of no use",
			Transcript: with(transcript(obsA, obsB, 20_000, 60_000), []proto.Candidate{host("192.168.1.2:4000", 1)}, []proto.Candidate{host("192.168.1.3:5000", 1)})},
		"together": {Doc: "one observed address: the host candidates too, the preferred first",
			Transcript: with(transcript(obsA, "198.51.100.1:4001", 10_000, 10_000), []proto.Candidate{host("192.168.1.2:4000", 1), host("10.0.0.2:4000", 9)}, []proto.Candidate{host("192.168.1.3:5000", 1)})},
		"ipv6": {Doc: "global IPv6 addresses once, where both have one; not unique local ones",
			Transcript: with(transcript(obsA, obsB, 20_000, 20_000), []proto.Candidate{host("[2001:db8::a]:4000", 2), host("[fd00::a]:4000", 1)}, []proto.Candidate{host("[2001:db8::b]:5000", 2)})},
		"ipv6-one-side": {Doc: "IPv6 at one side only",
			Transcript: with(transcript(obsA, obsB, 20_000, 20_000), nil, []proto.Candidate{host("[2001:db8::b]:5000", 2)})},
		"ipv6-observed": {Doc: "both observed over IPv6: that address is not dialled twice",
			Transcript: with(transcript("[2001:db8::a]:4000", "[2001:db8::b]:5000", 20_000, 20_000), []proto.Candidate{host("[2001:db8::a]:4000", 2)}, []proto.Candidate{host("[2001:db8::b]:5000", 2)})},
		"short": {Doc: "a round trip of 10 ms or less: the initiator's first dial is quiet, and the responder's first comes 3 ms later",
			Transcript: with(transcript("198.51.100.1:4000", "198.51.100.1:4001", 4_000, 6_000), []proto.Candidate{host("192.168.1.2:4000", 1)}, []proto.Candidate{host("192.168.1.3:5000", 1)})},
		"unmeasured": {Doc: "no round trip known", Transcript: transcript(obsA, obsB, 0, 0)},
		"absurd":     {Doc: "a round trip of an hour is taken for five seconds", Transcript: transcript(obsA, obsB, 3_600_000_000, 30_000)},
		"duplicates": {Doc: "one address is dialled once, whatever its kind and priority",
			Transcript: with(transcript(obsA, "198.51.100.1:4001", 10_000, 10_000), nil,
				[]proto.Candidate{host("192.168.1.3:4001", 1), host("192.168.1.3:4001", 7), host("192.168.1.3:4001", 1), host("198.51.100.1:4001", 3)})},
		"maximal": {Doc: "as many candidates as are allowed, on one network",
			Transcript: with(transcript(obsA, "198.51.100.1:4001", 10_000, 10_000), full("192.168.1.", "4000"), full("192.168.1.1", "4001"))},
		"version-1": {Doc: "version 1 does not know port modes",
			Transcript: func() proto.Transcript {
				tr := modes(transcript(obsA, obsB, 20_000, 20_000), proto.PortSequential, proto.PortSequential)
				tr.PlanVersion = 1
				return tr
			}()},
		"version-3-short": {Doc: "version 3: the initiator's first dial is deaf, the responder's quiet and 3 ms earlier", Transcript: latest(transcript(obsA, obsB, 4_000, 6_000))},
		"version-3":       {Doc: "version 3: the initiator's first dial is deaf, the responder's quiet", Transcript: latest(transcript(obsA, obsB, 20_000, 60_000))},
		"version-3-long":  {Doc: "version 3: both are heard, the initiator is deaf", Transcript: latest(transcript(obsA, obsB, 100_000, 100_000))},
		"version-3-sequential": {Doc: "version 3: both cross when the initiator dials again, which has begun late",
			Transcript: latest(modes(v6(2, 3), proto.PortSequential, proto.PortShared))},
		"version-2":       {Doc: "version 2 of two sides that listen is version 1", Transcript: modes(transcript(obsA, obsB, 20_000, 20_000), proto.PortShared, 77)},
		"dial-only-one":   {Doc: "dial-only at one side changes nothing", Transcript: modes(transcript(obsA, obsB, 20_000, 20_000), proto.PortDialOnly, proto.PortShared)},
		"dial-only-both":  {Doc: "neither side listens: rounds", Transcript: modes(transcript(obsA, obsB, 4_000, 4_000), proto.PortDialOnly, proto.PortDialOnly)},
		"sequential-one":  {Doc: "the responder takes turns among the addresses of one network", Transcript: modes(lan(2, 1), proto.PortShared, proto.PortSequential)},
		"sequential-both": {Doc: "both take turns, and neither listens", Transcript: modes(lan(2, 2), proto.PortSequential, proto.PortSequential)},
		"sequential-ipv6": {Doc: "what is dialled once has the first turns, and the other side dials in them, too", Transcript: modes(v6(2, 3), proto.PortSequential, proto.PortShared)},
		"sequential-ipv6-observed": {Doc: "the sequential side has no step that is dialled once, the other one has",
			Transcript: modes(with(transcript(obsA, "[2001:db8::b]:5000", 20_000, 20_000), []proto.Candidate{host("[2001:db8::a]:4000", 2)}, []proto.Candidate{host("[2001:db8::b]:5000", 2)}),
				proto.PortSequential, proto.PortShared)},
		"sequential-absurd": {Doc: "the longest round trips and the most addresses: all have their turns", Transcript: modes(slow(v6(8, 8)), proto.PortSequential, proto.PortSequential)},
		"reports-plain": {Doc: "version 4 of two NATs that show everybody one port is version 3, but for the spare ports",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), steadyNAT(), steadyNAT())},
		"reports-version-3": {Doc: "version 3 does not know reports",
			Transcript: func() proto.Transcript {
				tr := reports(transcript(obsA, obsB, 20_000, 20_000), sequentialNAT(1), steadyNAT())
				tr.PlanVersion = 3
				return tr
			}()},
		"predicted": {Doc: "a NAT that allocates in sequence, against one that shows everybody one port: that side dials a window, which grows; the other opens its mapping quietly",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), sequentialNAT(1), steadyNAT())},
		"predicted-busy": {Doc: "the responder's NAT goes down by 2 and is shared; nothing answers at the initiator's",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), silentNAT(), busyNAT(sequentialNAT(-2)))},
		"crossed": {Doc: "two NATs that allocate in sequence: one side dials the first, second, third … port of the other, which dials the first, third, fifth …",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), sequentialNAT(1), sequentialNAT(2))},
		"spare": {Doc: "nothing is known of the NATs, but both show the local ports: there are spare ones at each quarter of the plan",
			Transcript: spared(20_000)},
		"spare-one": {Doc: "the initiator's NAT gives the port another number: its side stays with the one port",
			Transcript: reports(with(transcript(obsA, obsB, 100_000, 100_000), hosts("192.168.1.1%d:4001", 1), nil), nil, steadyNAT())},
		"spare-alone": {Doc: "everybody is let in at the initiator's one port: the responder dials it from spare ports, whatever its NAT makes of them",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), filteringNAT(proto.FilteringEndpointIndependent), randomNAT())},
		"guess": {Doc: "ports at random: 256 of them are opened, and guessed",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), randomNAT(), steadyNAT())},
		"guess-no-nat": {Doc: "no NAT, by the addresses, and a report of ports at random: what is reported counts, and there are no spare ports",
			Transcript: reports(with(transcript(obsA, obsB, 20_000, 20_000), []proto.Candidate{host(obsA, 1)}, []proto.Candidate{host(obsB, 1)}), randomNAT(), steadyNAT())},
		"guess-block": {Doc: "ports at random in a block",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), silentNAT(), blockNAT(20480, 22527))},
		"guess-proxy": {Doc: "a proxy's dials are refused: the guesses are held for them",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), resetNAT(), edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes }))},
		"guess-wait": {Doc: "an early SYN of a proxy's would take a port from a guess: the guesses are there first and stay, the proxy's side follows and dials again and again",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), poisonedNAT(), edited(randomNAT(), func(r *proto.NATReport) { r.Proxied = proto.TruthYes }))},
		"no-guess": {Doc: "only a guess could connect the two, and the responder makes none: one round of plain dials",
			Transcript: noGuesses(reports(transcript(obsA, obsB, 20_000, 20_000), randomNAT(), steadyNAT()))},
		"no-guess-plain": {Doc: "the same, but plain dials may do, as nothing is known of the responder's NAT",
			Transcript: noGuesses(reports(transcript(obsA, obsB, 20_000, 20_000), randomNAT(), nil))},
		"opener": {Doc: "a refusal would block the responder: it opens quietly, and the initiator follows",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), resetNAT(), blockingNAT())},
		"address-dependent": {Doc: "filtering by address: one opener, and the other side dials",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), randomNAT(), filteringNAT(proto.FilteringAddressDependent))},
		"hopeless": {Doc: "ports at random at both sides: one round of plain dials",
			Transcript: reports(transcript(obsA, obsB, 20_000, 20_000), randomNAT(), randomNAT())},
		"unknown-kind": {Doc: "a kind that this version does not know is left alone",
			Transcript: with(transcript(obsA, "198.51.100.1:4001", 10_000, 10_000), nil, []proto.Candidate{{Addr: netip.MustParseAddrPort("192.168.1.3:9"), Kind: 77, Priority: 5}})},
	}
}

// noGuesses has the responder guess no ports.
func noGuesses(tr proto.Transcript) proto.Transcript {
	tr.Responder.NoGuess = true
	return tr
}

func TestPlanGolden(t *testing.T) {
	for name, g := range goldens() {
		t.Run(name, func(t *testing.T) {
			plan, err := MakePlan(&g.Transcript)
			if err != nil {
				t.Fatal(err)
			}
			g.Plan = plan
			checkPlan(t, &g.Transcript, plan)
			got, err := json.MarshalIndent(g, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "plans", name+".json")
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("not the golden plan (-want +got):\n%s", diff)
			}
		})
	}
}

// The files alone must be enough to test another implementation.
func TestPlanGoldenFilesAreSelfContained(t *testing.T) {
	files, err := filepath.Glob("testdata/plans/*.json")
	if err != nil || len(files) != len(goldens()) {
		t.Fatalf("%d files, %v; want %d", len(files), err, len(goldens()))
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var g golden
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		plan, err := MakePlan(&g.Transcript)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(g.Plan, plan, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestPlanVersionUnknown(t *testing.T) {
	for _, version := range []uint32{0, proto.PlanVersion + 1} {
		tr := transcript(obsA, obsB, 1, 1)
		tr.PlanVersion = version
		if plan, err := MakePlan(&tr); plan != nil || err == nil {
			t.Errorf("version %d: MakePlan = %v, %v", version, plan, err)
		}
	}
}

// checkPlan checks what holds for every plan.
func checkPlan(t testing.TB, tr *proto.Transcript, p *Plan) {
	t.Helper()
	plain := *tr
	plain.Initiator.NAT, plain.Responder.NAT = nil, nil
	q, err := MakePlan(&plain)
	if err != nil {
		t.Fatal(err)
	}
	checkPlain(t, &plain, q)
	checkLadder(t, tr, q, p)
	checkSpares(t, tr, p)
}

// checkPlain checks what holds for every plan that is not made from reports.
func checkPlain(t testing.TB, tr *proto.Transcript, p *Plan) {
	t.Helper()
	if p.Hold < holdMin || p.Limit < p.Start+limitMin || p.Start > maxRTT/2 || p.RTT == 0 || p.RTT > 2*maxRTT {
		t.Errorf("times out of bounds: %+v", p)
	}
	checkSteps(t, p, p.Initiator, &tr.Responder)
	checkSteps(t, p, p.Responder, &tr.Initiator)
	checkOpening(t, p)
	checkModes(t, tr, p)
	checkSymmetry(t, tr)
}

// checkOpening checks who is heard first. It is never both sides that are deaf, or
// quiet, and who is deaf is not quiet.
func checkOpening(t testing.TB, p *Plan) {
	t.Helper()
	short, near := p.RTT <= shortRTT, p.Version > 2 && p.RTT <= nearRTT
	quiet := [2]bool{p.Version < 3 && short, near}
	if got := [2]bool{p.Initiator[0].Quiet, p.Responder[0].Quiet}; got != quiet || (p.Quiet > 0) != (got[0] || got[1]) {
		t.Errorf("version %d, round trip %d: quiet %v for %d µs, want %v", p.Version, p.RTT, got, p.Quiet, quiet)
	}
	if p.Initiator[0].Deaf != (p.Version > 2) || p.Responder[0].Deaf {
		t.Errorf("version %d: deaf %t and %t", p.Version, p.Initiator[0].Deaf, p.Responder[0].Deaf)
	}
	if (p.Cross > 0) != (near && !short) || p.Cross > 0 && p.Cross <= p.Initiator[0].At+p.Deaf {
		t.Errorf("round trip %d: both cross at %d", p.RTT, p.Cross)
	}
}

// checkModes checks that a mode gives a peer nothing but times: it gets no step,
// and none is dialled more often, that it would not get otherwise.
func checkModes(t testing.TB, tr *proto.Transcript, p *Plan) {
	t.Helper()
	shared := *tr
	shared.Initiator.PortMode, shared.Responder.PortMode = proto.PortShared, proto.PortShared
	q, err := MakePlan(&shared)
	if err != nil {
		t.Fatal(err)
	}
	if p.Limit != q.Limit || p.Hold != q.Hold || p.Start != q.Start {
		t.Errorf("a mode changes %+v into %+v", q, p)
	}
	ignoreTimes := cmpopts.IgnoreFields(Step{}, "At")
	for _, r := range []proto.Role{proto.Initiator, proto.Responder} {
		if diff := cmp.Diff(q.Steps(r), p.Steps(r), cmpopts.EquateComparable(netip.AddrPort{}), ignoreTimes); diff != "" {
			t.Errorf("a mode changes the %v's steps:\n%s", r, diff)
		}
		checkTurns(t, p, r)
	}
}

// checkTurns checks that each step has a turn.
func checkTurns(t testing.TB, p *Plan, r proto.Role) {
	t.Helper()
	had := map[int]bool{}
	for n := range len(p.Initiator) * len(p.Responder) {
		had[p.TurnOf(r, n)] = true
	}
	if len(had) != len(p.Steps(r)) && len(p.Initiator) > 1 && len(p.Responder) > 1 {
		t.Errorf("of %d steps of the %v %v have a turn", len(p.Steps(r)), r, had)
	}
}

// checkSymmetry swaps the roles. Only who is heard first depends on them.
func checkSymmetry(t testing.TB, tr *proto.Transcript) {
	t.Helper()
	mirror := *tr
	mirror.Initiator, mirror.Responder = tr.Responder, tr.Initiator
	p, m := rolesAlike(t, tr), rolesAlike(t, &mirror)
	m.Initiator, m.Responder = m.Responder, m.Initiator
	if diff := cmp.Diff(p, m, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("not symmetric under swapping the roles:\n%s", diff)
	}
}

func rolesAlike(t testing.TB, tr *proto.Transcript) *Plan {
	p, err := MakePlan(tr)
	if err != nil {
		t.Fatal(err)
	}
	second := &p.Initiator[0]
	if p.Version < 3 {
		second = &p.Responder[0]
	}
	if p.RTT <= shortRTT {
		second.At -= quietLead
	}
	for _, s := range []*Step{&p.Initiator[0], &p.Responder[0]} {
		s.Quiet, s.Deaf = false, false
	}
	p.InitiatorSpares, p.ResponderSpares = nil, nil // whose ports depend on the roles
	return p
}

func checkSteps(t testing.TB, p *Plan, steps []Step, to *proto.Party) {
	t.Helper()
	if len(steps) == 0 || len(steps) > 1+proto.MaxHostCandidates || steps[0].To != to.Observed {
		t.Errorf("steps %v", steps)
	}
	for i, s := range steps {
		if s.At < p.Start || s.At > p.Limit {
			t.Errorf("step %v at %d", s, s.At)
		}
		if slices.ContainsFunc(steps[:i], func(o Step) bool { return o.To.Addr == s.To.Addr }) {
			t.Errorf("two steps to %v", s.To.Addr)
		}
	}
}

func FuzzMakePlan(f *testing.F) {
	for _, g := range goldens() {
		b, err := g.Transcript.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := proto.ParseTranscript(b)
		if err != nil {
			return
		}
		p, err := MakePlan(tr)
		if (err == nil) != (0 < tr.PlanVersion && tr.PlanVersion <= proto.PlanVersion) {
			t.Fatalf("version %d: %v", tr.PlanVersion, err)
		}
		if err == nil {
			checkPlan(t, tr, p)
		}
	})
}
