package main

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/recording"
)

// everything is a report that knows all of an ordinary NAT.
func everything() proto.NATReport {
	return proto.NATReport{
		Mapping: proto.MappingEndpointIndependent, Allocation: proto.AllocationPreserving, Pooling: proto.PoolingPaired,
		Filtering: proto.FilteringAddressPortDependent, Unsolicited: proto.AnswerDropped, Crossing: proto.AnswerAccepted,
		OnReset: proto.PolicyKeep, Poisoned: proto.TruthNo, Hairpin: proto.AnswerDropped, Hops: 2, Proxied: proto.TruthNo,
	}
}

// partyWith returns a recorded party that states a report, by way of the file's
// own form.
func partyWith(t *testing.T, r *proto.NATReport, observed string, hosts ...string) recording.Party {
	t.Helper()
	p := proto.Party{ID: proto.ID{1}, Observed: proto.NewCandidate(netip.MustParseAddrPort(observed), proto.Observed, 0), NAT: r}
	for _, h := range hosts {
		p.Candidates = append(p.Candidates, proto.NewCandidate(netip.MustParseAddrPort(h), proto.Host, 0))
	}
	rec := recorded(t, nil, &proto.Transcript{PlanVersion: proto.PlanVersion, Initiator: p, Responder: proto.Party{Observed: p.Observed}})
	return rec.Attempts[0].Introduction.Initiator
}

// recorded writes a recording of one introduction and reads it back.
func recorded(t *testing.T, end func(*recording.Writer), transcript *proto.Transcript) *recording.Recording {
	t.Helper()
	rec, err := recording.Read(bytes.NewReader(recordingOf(end, transcript)))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func recordingOf(end func(*recording.Writer), transcript *proto.Transcript) []byte {
	var b bytes.Buffer
	w := recording.NewWriter(&b, "peerd/test", transcript.Responder.ID)
	w.Introduced(time.Now(), proto.Initiator, transcript)
	if end != nil {
		end(w)
	}
	return b.Bytes()
}

// Every value of every enumeration of a report becomes what the lab calls it, or
// is said not to be known, or not to be rebuilt.
func TestInfer(t *testing.T) {
	type change = func(*proto.NATReport)
	for _, c := range []struct {
		name    string
		change  change
		want    natlab.NAT
		none    bool
		like    string
		behind  int
		unknown string
		left    string
	}{
		{name: "all known", change: func(*proto.NATReport) {}},

		{name: "mapping unknown", change: func(r *proto.NATReport) { r.Mapping = 0 }, unknown: "mapping"},
		{name: "mapping none", change: func(r *proto.NATReport) { r.Mapping = proto.MappingNone }, none: true},
		{name: "ADM", change: func(r *proto.NATReport) { r.Mapping = proto.MappingAddressDependent }, want: natlab.NAT{Mapping: natlab.ADM}},
		{name: "APDM", change: func(r *proto.NATReport) { r.Mapping = proto.MappingAddressPortDependent }, want: natlab.NAT{Mapping: natlab.APDM}},
		{name: "per connection", change: func(r *proto.NATReport) { r.Mapping = proto.MappingPerConnection }, want: natlab.NAT{Mapping: natlab.PerConnection}},
		{name: "mapping of a later version", change: func(r *proto.NATReport) { r.Mapping = 17 }, unknown: "mapping"},

		{name: "allocation unknown", change: func(r *proto.NATReport) { r.Allocation = 0 }, unknown: "allocation"},
		{name: "sequential", change: func(r *proto.NATReport) {
			r.Allocation, r.Delta, r.Background = proto.AllocationSequential, -2, 50_000
		}, want: natlab.NAT{Allocation: natlab.Allocation{Kind: natlab.Sequential, Delta: -2, Background: 50}}},
		{name: "block", change: func(r *proto.NATReport) { r.Allocation, r.Low, r.High = proto.AllocationBlock, 2000, 2511 },
			want: natlab.NAT{Allocation: natlab.Allocation{Kind: natlab.Block, Size: 512}}},
		{name: "block of unknown bounds", change: func(r *proto.NATReport) { r.Allocation = proto.AllocationBlock },
			want: natlab.NAT{Allocation: natlab.Allocation{Kind: natlab.Block}}},
		{name: "random", change: func(r *proto.NATReport) { r.Allocation = proto.AllocationRandom },
			want: natlab.NAT{Allocation: natlab.Allocation{Kind: natlab.Random}}},
		{name: "random of all ports", change: func(r *proto.NATReport) { r.Allocation, r.Low, r.High = proto.AllocationRandom, 1024, 65535 },
			want: natlab.NAT{Allocation: natlab.Allocation{Kind: natlab.Random}}},
		{name: "random of the upper ports", change: func(r *proto.NATReport) { r.Allocation, r.Low, r.High = proto.AllocationRandom, 50001, 65535 },
			want: natlab.NAT{Allocation: natlab.Allocation{Kind: natlab.Block, Size: 15535}}},
		{name: "allocation of a later version", change: func(r *proto.NATReport) { r.Allocation = 17 }, unknown: "allocation"},

		{name: "pooling unknown", change: func(r *proto.NATReport) { r.Pooling = 0 }, unknown: "pooling"},
		{name: "arbitrary pooling", change: func(r *proto.NATReport) { r.Pooling = proto.PoolingArbitrary }, want: natlab.NAT{Addresses: 4, Pooling: natlab.Arbitrary}},

		{name: "filtering unknown", change: func(r *proto.NATReport) { r.Filtering = 0 }, unknown: "filtering"},
		{name: "EIF", change: func(r *proto.NATReport) { r.Filtering = proto.FilteringEndpointIndependent }, want: natlab.NAT{Filtering: natlab.EIF}},
		{name: "ADF", change: func(r *proto.NATReport) { r.Filtering = proto.FilteringAddressDependent }, want: natlab.NAT{Filtering: natlab.ADF}},

		{name: "unsolicited unknown", change: func(r *proto.NATReport) { r.Unsolicited = 0 }, unknown: "unsolicited SYNs"},
		{name: "unsolicited accepted", change: func(r *proto.NATReport) { r.Unsolicited = proto.AnswerAccepted }, left: "that unsolicited SYNs are let in"},
		{name: "unsolicited accepted by EIF", change: func(r *proto.NATReport) {
			r.Filtering, r.Unsolicited = proto.FilteringEndpointIndependent, proto.AnswerAccepted
		}, want: natlab.NAT{Filtering: natlab.EIF}},
		{name: "unsolicited RST", change: func(r *proto.NATReport) { r.Unsolicited = proto.AnswerReset },
			want: natlab.NAT{Unsolicited: natlab.Unsolicited{Answer: natlab.Reset}}},
		{name: "unsolicited ICMP", change: func(r *proto.NATReport) { r.Unsolicited = proto.AnswerUnreachable },
			want: natlab.NAT{Unsolicited: natlab.Unsolicited{Answer: natlab.Unreachable}}},
		{name: "unsolicited ICMP, late", change: func(r *proto.NATReport) { r.Unsolicited = proto.AnswerDelayed },
			want: natlab.NAT{Unsolicited: natlab.Unsolicited{Answer: natlab.Unreachable, After: 6 * time.Second}}},

		{name: "crossing unknown", change: func(r *proto.NATReport) { r.Crossing = 0 }, unknown: "crossing SYNs"},
		{name: "crossing dropped", change: func(r *proto.NATReport) { r.Crossing = proto.AnswerDropped }, want: natlab.NAT{InboundAfterOutbound: natlab.DropInbound}},
		{name: "crossing RST", change: func(r *proto.NATReport) { r.Crossing = proto.AnswerReset }, want: natlab.NAT{InboundAfterOutbound: natlab.ResetInbound}},
		{name: "crossing ICMP", change: func(r *proto.NATReport) { r.Crossing = proto.AnswerUnreachable },
			want: natlab.NAT{InboundAfterOutbound: natlab.DropInbound}, left: "the ICMP error for a crossing SYN, which is dropped instead"},
		{name: "crossing ICMP, late", change: func(r *proto.NATReport) { r.Crossing = proto.AnswerDelayed },
			want: natlab.NAT{InboundAfterOutbound: natlab.DropInbound}, left: "the ICMP error for a crossing SYN, which is dropped instead"},

		{name: "RST unknown", change: func(r *proto.NATReport) { r.OnReset = 0 }, unknown: "what a RST does"},
		{name: "RST deletes", change: func(r *proto.NATReport) { r.OnReset = proto.PolicyDelete }, want: natlab.NAT{OnRST: natlab.Delete}},
		{name: "RST blocks", change: func(r *proto.NATReport) { r.OnReset = proto.PolicyBlock },
			want: natlab.NAT{OnRST: natlab.DeleteAndBlock, BlockFor: 10 * time.Second}},

		{name: "poisoning unknown", change: func(r *proto.NATReport) { r.Poisoned = 0 }, unknown: "poisoning"},
		{name: "poisoned", change: func(r *proto.NATReport) { r.Poisoned = proto.TruthYes }, like: "dmz-poison"},
		{name: "proxies unknown", change: func(r *proto.NATReport) { r.Proxied = 0 }, unknown: "a proxy that completes connections"},
		{name: "proxied", change: func(r *proto.NATReport) { r.Proxied = proto.TruthYes }, like: "proxy"},

		{name: "hairpin unknown", change: func(r *proto.NATReport) { r.Hairpin = 0 }, unknown: "hairpinning"},
		{name: "hairpin", change: func(r *proto.NATReport) { r.Hairpin = proto.AnswerAccepted }, want: natlab.NAT{Hairpin: natlab.HairpinExternal}},
		{name: "hairpin RST", change: func(r *proto.NATReport) { r.Hairpin = proto.AnswerReset }, want: natlab.NAT{Hairpin: natlab.HairpinReset}},
		{name: "hairpin ICMP", change: func(r *proto.NATReport) { r.Hairpin = proto.AnswerUnreachable }, left: "the ICMP error for a hairpin, which is dropped instead"},
		{name: "hairpin ICMP, late", change: func(r *proto.NATReport) { r.Hairpin = proto.AnswerDelayed }, left: "the ICMP error for a hairpin, which is dropped instead"},

		{name: "three NATs", change: func(r *proto.NATReport) { r.Hops = 4 }, behind: 2},
		{name: "four NATs", change: func(r *proto.NATReport) { r.Hops = 5 }, behind: 2, left: "4 NATs in a row, of which there are 3"},
	} {
		r := everything()
		c.change(&r)
		n := infer(partyWith(t, &r, "192.0.2.1:5", "10.0.0.1:5"))
		if !reflect.DeepEqual(n.nat, c.want) || n.none != c.none || n.like != c.like || n.behind != c.behind || strings.Join(n.unknown, ", ") != c.unknown || strings.Join(n.left, ", ") != c.left {
			t.Errorf("%s: %+v", c.name, n)
		}
		if said := n.String(); c.unknown != "" && !strings.Contains(said, "as of the ordinary NAT: "+c.unknown) || c.left != "" && !strings.Contains(said, "not rebuilt: "+c.left) {
			t.Errorf("%s is described as %s", c.name, said)
		}
		if p := n.profile("initiator"); p.Name != "initiator" || c.like == "" && !c.none && !reflect.DeepEqual(*p.NAT, c.want) || c.like != "" && !p.Kernel {
			t.Errorf("%s is rebuilt as %+v", c.name, p)
		}
	}
}

// Without a report the ordinary NAT is taken, unless the address tells better.
func TestInferWithoutReport(t *testing.T) {
	n := infer(partyWith(t, nil, "192.0.2.1:5", "10.0.0.1:5"))
	if !reflect.DeepEqual(n.nat, natlab.NAT{}) || n.none || len(n.unknown) != 10 {
		t.Errorf("%+v", n)
	}
	if n := infer(partyWith(t, nil, "192.0.2.1:5", "10.0.0.1:5", "192.0.2.1:5")); !n.none {
		t.Errorf("a host with its own address: %+v", n)
	}
}

// twoParties is an introduction of two sides behind ordinary NATs of which
// nothing is known.
func twoParties() *proto.Transcript {
	observed := func(s string) proto.Candidate {
		return proto.NewCandidate(netip.MustParseAddrPort(s), proto.Observed, 0)
	}
	return &proto.Transcript{
		PlanVersion: proto.PlanVersion,
		Initiator:   proto.Party{ID: proto.ID{1}, RTT: 10_000, Observed: observed("192.0.2.1:5")},
		Responder:   proto.Party{ID: proto.ID{2}, RTT: 30_000, Observed: observed("198.51.100.1:6")},
	}
}

func TestReplayCase(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*proto.Transcript)
		check  func(*replayCase) bool
		notes  string
	}{
		{"the farther peer's NAT is slower", func(*proto.Transcript) {}, func(c *replayCase) bool {
			return c.cfg.RTT == 20*time.Millisecond && c.cfg.A.NAT.Delay == 0 && c.cfg.B.NAT.Delay == 10*time.Millisecond && c.roundTrip() == 40*time.Millisecond
		}, ""},
		{"nothing measured", func(t *proto.Transcript) { t.Initiator.RTT, t.Responder.RTT = 0, 0 }, func(c *replayCase) bool { return c.cfg.RTT == 40*time.Millisecond },
			"no round trip was measured: 40ms between the peers"},
		{"one measured", func(t *proto.Transcript) { t.Initiator.RTT = 0 }, func(c *replayCase) bool { return c.cfg.RTT == 60*time.Millisecond && c.cfg.B.NAT.Delay == 0 },
			"one round trip to the server was not measured: it is taken to be the other's"},
		{"the farther peer has no NAT", func(t *proto.Transcript) { t.Responder.NAT = &proto.NATReport{Mapping: proto.MappingNone} },
			func(c *replayCase) bool { return c.cfg.B.NAT == nil && c.cfg.RTT == 40*time.Millisecond },
			"the server is in the middle: the farther peer has no NAT of its own to add a delay"},
		{"one address", func(t *proto.Transcript) {
			t.Responder.Observed, t.Responder.RTT = t.Initiator.Observed, t.Initiator.RTT
		},
			func(c *replayCase) bool { return c.cfg.SameNAT }, "both have one outside address: they get one LAN behind the initiator's NAT"},
		{"one address and no NAT", func(t *proto.Transcript) {
			t.Responder.Observed, t.Responder.RTT = t.Initiator.Observed, t.Initiator.RTT
			t.Initiator.NAT = &proto.NATReport{Mapping: proto.MappingNone}
		}, func(c *replayCase) bool { return !c.cfg.SameNAT }, "both have one address and no NAT: they get one each"},
		{"an older plan", func(t *proto.Transcript) { t.PlanVersion = 1 }, func(*replayCase) bool { return true }, "the plan had version 1, and now has "},
		{"no guesses", func(t *proto.Transcript) { t.PlanVersion, t.Responder.NoGuess = proto.PlanVersion, true },
			func(*replayCase) bool { return true }, "a side had guessing ports switched off: here both guess"},
		{"port modes", func(t *proto.Transcript) { t.Initiator.PortMode, t.Responder.PortMode = proto.PortDialOnly, 9 },
			func(c *replayCase) bool { return c.cell.Ports == portModes{dialOnly, shared} }, ""},
	} {
		transcript := twoParties()
		c.change(transcript)
		got, err := newReplayCase(recorded(t, nil, transcript).Attempts[0])
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(got.notes, "; "); !c.check(got) || !strings.HasPrefix(notes, c.notes) || c.notes == "" && notes != "" {
			t.Errorf("%s: %+v %s", c.name, got, notes)
		}
	}
}

func TestReplayCompares(t *testing.T) {
	connected := &recording.Result{Connected: true, Won: &recording.Won{How: "dialled", Kind: "observed", Attempt: 3}}
	failed := &recording.Result{Failure: "no"}
	for _, c := range []struct {
		result *recording.Result
		runs   []pairRun
		want   string
		agrees bool
	}{
		{connected, runsOf(3, 150, 1, 12000, "no"), "yes, 3 of 4 end as the recording, 3 by the same step", true},
		{connected, runsOf(2, 150, 2, 12000, "no"), "no, 2 of 4 end as the recording, 2 by the same step", false},
		{failed, runsOf(1, 150, 3, 12000, "no"), "yes, 3 of 4 end as the recording", true},
		{failed, runsOf(4, 150, 0, 0, ""), "no, 0 of 4 end as the recording", false},
		{nil, runsOf(4, 150, 0, 0, ""), "there is nothing to compare with", true},
	} {
		var out strings.Builder
		err := (&replayCase{result: c.result}).compare(pairResult{Runs: c.runs}, &out)
		if out.String() != "agrees:    "+c.want+"\n" || (err == nil) != c.agrees {
			t.Errorf("%q %v, want %q", out.String(), err, c.want)
		}
	}
}

// What a recording says is text, and no command to the terminal.
func TestReplayShowsText(t *testing.T) {
	for _, r := range []*recording.Result{
		{Failure: "no\x1b]0;title\x07\nroute\u009b2J"},
		{Connected: true, Won: &recording.Won{How: "dialled", Kind: "\x1b[2J", Idea: "\r\n"}},
	} {
		text := (&replayCase{result: r}).describe()
		if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 || strings.Count(text, "\n") != 4 {
			t.Errorf("%q", text)
		}
	}
}

// A recording of the real peerd in the lab is repeated, and ends alike.
func TestReplay(t *testing.T) {
	natlab.Require(t)
	dir := t.TempDir()
	peerd, err := build(t.Context(), dir, "peerd")
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(t.Context(), peerd, filepath.Join(dir, "state"), cell{A: "linux-drop", B: "user-rst", RTT: 40 * time.Millisecond}, "greet=127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer w.lab.Close()
	l, err := w.lab.B.Listen("127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go accepting(func(c *net.TCPConn) { c.Write([]byte("hello")); c.Close() })(l)
	file := filepath.Join(dir, "case.jsonl")
	connect := w.command(t.Context(), w.lab.A, "a", "connect", "-q", w.peer, "-W", "greet", "--record", file)
	if out, err := connect.CombinedOutput(); err != nil || string(out) != "hello" {
		t.Fatalf("%v %s", err, out)
	}
	code, out, stderr := natlabRun(t, "", "replay", file, "--runs", "2")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"introduction 1, recorded by the initiator\n", "recorded:  connected after ", "replayed:  2 of 2 connected, first byte after ", "agrees:    yes, 2 of 2 end as the recording"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// What was recorded as failed and connects here does not agree, and what cannot be
// replayed says why.
func TestReplayDisagrees(t *testing.T) {
	natlab.Require(t)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	failed := func(w *recording.Writer) { w.Failed(time.Now(), errors.New("no direct connection")) }
	code, out, stderr := natlabRun(t, "", "replay", file("failed", recordingOf(failed, twoParties())), "--runs", "1")
	if code != exitOther || stderr != "natlab: the replay does not agree with the recording\n" || !strings.Contains(out, "agrees:    no, 0 of 1 end as the recording\n") ||
		!strings.Contains(out, "initiator: EIM preserving, APDF, unsolicited silent; unknown, and as of the ordinary NAT: mapping, allocation") {
		t.Errorf("exit code %d, %s%s", code, out, stderr)
	}
	for want, args := range map[string][]string{
		"not a recording":           {file("text", []byte("hello\n"))},
		"no such file":              {filepath.Join(dir, "none")},
		"nothing to replay":         {file("head", []byte(`{"type":"recording","version":1}`+"\n"+`{"type":"result"}`+"\n"))},
		"and no number 2":           {filepath.Join(dir, "failed"), "--attempt", "2"},
		"--runs is at least 1":      {filepath.Join(dir, "failed"), "--runs", "0"},
		"accepts 1 arg(s)":          nil,
		"a recording of a later ve": {file("later", []byte(`{"type":"recording","version":2}`+"\n"))},
	} {
		code, _, stderr := natlabRun(t, "", append([]string{"replay"}, args...)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
}
