package proto

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

func TestTranscriptRoundTrip(t *testing.T) {
	for _, want := range []*Transcript{sampleTranscript(), maximalTranscript(), modesTranscript(), natTranscript(), noGuessTranscript()} {
		b, err := want.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseTranscript(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got = new(Transcript)
		if err := json.Unmarshal(text, got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %+v, %v", text, got, err)
		}
	}
}

func TestBadTranscripts(t *testing.T) {
	host := sampleCandidate(Host, "10.0.0.1:4000")
	cases := map[string]struct {
		spoil func(*Transcript)
		want  error
	}{
		"no introduction":      {func(t *Transcript) { t.Introduction = Token{} }, ErrMalformed},
		"no plan version":      {func(t *Transcript) { t.PlanVersion = 0 }, ErrMalformed},
		"with itself":          {func(t *Transcript) { t.Responder.ID = t.Initiator.ID }, ErrMalformed},
		"no initiator":         {func(t *Transcript) { t.Initiator = Party{} }, ErrMalformed},
		"zero ID":              {func(t *Transcript) { t.Responder.ID = ID{} }, ErrMalformed},
		"no instance":          {func(t *Transcript) { t.Responder.Instance = Token{} }, ErrMalformed},
		"no observed endpoint": {func(t *Transcript) { t.Initiator.Observed = Candidate{} }, ErrMalformed},
		"host as observed":     {func(t *Transcript) { t.Responder.Observed = host }, ErrMalformed},
		"observed at port 0": {func(t *Transcript) {
			t.Responder.Observed.Addr = netip.AddrPortFrom(t.Responder.Observed.Addr.Addr(), 0)
		}, ErrMalformed},
		"own observation":     {func(t *Transcript) { t.Initiator.Candidates[0].Kind = Observed }, ErrMalformed},
		"bad report of a NAT": {func(t *Transcript) { t.Initiator.NAT = &NATReport{Low: 2, High: 1} }, ErrMalformed},
		"too many candidates": {func(t *Transcript) { t.Responder.Candidates = append(maximalCandidates(), host) }, ErrTooLarge},
	}
	for name, c := range cases {
		bad := sampleTranscript()
		c.spoil(bad)
		if b, err := bad.Marshal(); b != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: Marshal: %v, want %v", name, err, c.want)
		}
		b, err := encMode.Marshal(bad)
		if err != nil {
			continue // the address has no encoding
		}
		if got, err := ParseTranscript(b); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: ParseTranscript: %v, %v, want %v", name, got, err, c.want)
		}
	}
}

func TestTranscriptRoles(t *testing.T) {
	tr := sampleTranscript()
	for _, r := range []Role{Initiator, Responder} {
		p := tr.Party(r)
		if got, ok := tr.RoleOf(p.ID, p.Instance); !ok || got != r {
			t.Errorf("RoleOf the %v: %v, %v", r, got, ok)
		}
		if r.Peer() == r || r.Peer().Peer() != r || tr.Party(r.Peer()) == p {
			t.Errorf("%v's peer is %v", r, r.Peer())
		}
	}
	if r, ok := tr.RoleOf(tr.Initiator.ID, tr.Responder.Instance); ok {
		t.Errorf("another instance is %v", r)
	}
	if r, ok := tr.RoleOf(sampleID(9), tr.Initiator.Instance); ok {
		t.Errorf("another peer is %v", r)
	}
	if s := Initiator.String() + " " + Responder.String() + " " + Role(7).String(); s != "initiator responder role(7)" {
		t.Error(s)
	}
}

func FuzzParseTranscript(f *testing.F) {
	f.Add(mustTranscript())
	b, _ := maximalTranscript().Marshal()
	f.Add(b)
	b, _ = modesTranscript().Marshal()
	f.Add(b)
	b, _ = natTranscript().Marshal()
	f.Add(b)
	b, _ = noGuessTranscript().Marshal()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		parsed, err := ParseTranscript(b)
		if err != nil {
			known(t, err)
			return
		}
		first, err := parsed.Marshal()
		if err != nil {
			t.Fatalf("%+v: %v", parsed, err)
		}
		again, err := ParseTranscript(first)
		if err != nil {
			t.Fatalf("%x: %v", first, err)
		}
		if second, err := again.Marshal(); err != nil || string(second) != string(first) {
			t.Errorf("%x became %x, %v", first, second, err)
		}
	})
}

// known fails the test unless err is one that decoders promise.
func known(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrVersion) {
		t.Errorf("undocumented error %v", err)
	}
}
