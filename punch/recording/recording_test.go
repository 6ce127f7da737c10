package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

var t0 = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func endpoint(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func observed(s string) proto.Candidate { return proto.NewCandidate(endpoint(s), proto.Observed, 0) }

func transcript() *proto.Transcript {
	return &proto.Transcript{
		Introduction: proto.Token{0xaa, 1}, PlanVersion: 2,
		Initiator: proto.Party{ID: proto.ID{1}, Instance: proto.Token{0xbb, 1}, RTT: 20000, Observed: observed("192.0.2.1:5")},
		Responder: proto.Party{
			ID: proto.ID{2}, Instance: proto.Token{0xcc, 1}, Observed: observed("198.51.100.1:6"), PortMode: proto.PortDialOnly, NoGuess: true,
			Candidates: []proto.Candidate{proto.NewCandidate(endpoint("10.0.0.2:6"), proto.Host, 0)},
			NAT:        &proto.NATReport{Mapping: proto.MappingPerConnection, Allocation: proto.AllocationSequential, Delta: -2, Samples: []uint16{9, 7}, Hairpin: proto.AnswerUnreachable},
		},
	}
}

// record writes a recording as connect would.
func record(do func(*Writer)) *bytes.Buffer {
	var b bytes.Buffer
	w := NewWriter(&b, "peerd/test", proto.ID{2})
	do(w)
	if w.Err() != nil {
		panic(w.Err())
	}
	return &b
}

func connectOnce(w *Writer) {
	w.Begin(t0)
	w.Introduced(t0.Add(40*time.Millisecond), proto.Initiator, transcript())
	w.Punched(t0.Add(50*time.Millisecond), punch.Event{At: -1500 * time.Microsecond, Attempt: 1, Kind: punch.Dialled, To: observed("198.51.100.1:6"), Idea: punch.Opener})
	refused := fmt.Errorf("%w (%w)", punch.ErrRefused, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	w.Punched(t0.Add(90*time.Millisecond), punch.Event{At: 38 * time.Millisecond, Attempt: 1, Kind: punch.Failed, To: observed("198.51.100.1:6"), Err: refused})
	w.Punched(t0.Add(130*time.Millisecond), punch.Event{At: 80 * time.Millisecond, Attempt: 2, Kind: punch.Accepted, To: observed("10.0.0.2:6")})
	w.Connected(t0.Add(200*time.Millisecond), endpoint("10.0.0.2:6"), 41500*time.Microsecond)
}

func TestRoundTrip(t *testing.T) {
	file := record(func(w *Writer) {
		connectOnce(w)
		w.Failed(t0.Add(time.Hour), errors.New("interrupted")) // nothing was going on
		w.Begin(t0.Add(2 * time.Hour))
		w.Failed(t0.Add(2*time.Hour+time.Second), errors.New("offline"))
		w.Introduced(t0.Add(3*time.Hour), proto.Responder, transcript()) // the peer's own request, and then we die
	})
	text := file.String()
	for _, secret := range []string{"aa01", "bb01", "cc01"} {
		if strings.Contains(text, secret) {
			t.Errorf("a token is in\n%s", text)
		}
	}
	rec, err := Read(strings.NewReader(text + `{"type":"ev`))
	if err != nil {
		t.Fatal(err)
	}
	if rec.Head != (Head{1, "peerd/test", proto.ID{2}.String()}) || len(rec.Attempts) != 3 {
		t.Fatalf("%+v", rec)
	}
	first, second, third := rec.Attempts[0], rec.Attempts[1], rec.Attempts[2]
	in := first.Introduction
	if in.Role != "initiator" || in.PlanVersion != 2 || in.Initiator.Observed != "192.0.2.1:5" || in.Initiator.RTT != 20000 || in.Initiator.NAT != nil ||
		in.Responder.PortMode != "dial-only" || in.Initiator.NoGuess || !in.Responder.NoGuess || !reflect.DeepEqual(in.Responder.Candidates, []Candidate{{"host", "10.0.0.2:6"}}) {
		t.Errorf("%+v", in)
	}
	if got := in.Responder.NAT.Report(); !reflect.DeepEqual(got, transcript().Responder.NAT) {
		t.Errorf("%+v", got)
	}
	if want := (Event{At: -1500, Attempt: 1, What: "dialled", Kind: "observed", Address: "198.51.100.1:6", Idea: "opener"}); len(first.Events) != 3 || first.Events[0] != want {
		t.Errorf("%+v", first.Events)
	}
	if e := first.Events[1]; !strings.HasSuffix(e.Errno, "ECONNREFUSED") || e.What != "failed" || !strings.Contains(e.Error, "refused") {
		t.Errorf("%+v", e)
	}
	if r := first.Result; !r.Connected || r.TookMS != 200 || r.RTTMS != 41.5 || *r.Won != (Won{"accepted", "host", "", 2}) {
		t.Errorf("%+v %+v", r, r.Won)
	}
	if second.Introduction != nil || second.Result == nil || second.Result.Failure != "offline" || second.Result.TookMS != 1000 {
		t.Errorf("%+v", second)
	}
	if third.Introduction == nil || third.Introduction.Role != "responder" || third.Result != nil {
		t.Errorf("%+v", third)
	}
}

// Every field of a report, and every value of its enumerations, survives; a field
// that is added to the wire format has to be added here.
func TestEveryReport(t *testing.T) {
	for n := range uint64(12) {
		want := new(proto.NATReport)
		fields := reflect.ValueOf(want).Elem()
		for i := range fields.NumField() {
			switch f := fields.Field(i); f.Kind() {
			case reflect.Slice:
				f.Set(reflect.ValueOf([]uint16{uint16(n + 1), uint16(i)}))
			case reflect.Int16:
				f.SetInt(int64(n) - 5)
			default:
				f.SetUint(n)
			}
		}
		data, err := json.Marshal(NATOf(want))
		if err != nil {
			t.Fatal(err)
		}
		var back NAT
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if got := back.Report(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis read as %+v\ninstead of  %+v", data, got, want)
		}
	}
	if NATOf(nil) != nil || (*NAT)(nil).Report() != nil {
		t.Error("no report is one")
	}
	if r := (&NAT{Mapping: "another word"}).Report(); r.Mapping != proto.MappingUnknown {
		t.Error("a word that nobody knows means something")
	}
}

func TestReadErrors(t *testing.T) {
	const head = `{"type":"recording","version":1}` + "\n"
	for _, c := range []struct {
		text string
		want error
	}{
		{"", ErrNoRecording},
		{"hello\n", ErrNoRecording},
		{`{"type":"event"}` + "\n", ErrNoRecording},
		{`{"type":"recording","version":2}` + "\n", ErrVersion},
		{head + "hello\n", ErrNoRecording},
	} {
		if _, err := Read(strings.NewReader(c.text)); !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.text, err, c.want)
		}
	}
	if _, err := Read(strings.NewReader(head + `{"type":"event","attempt":"one"}` + "\n")); err == nil {
		t.Error("a number that is none")
	}
	if _, err := Read(strings.NewReader(head + strings.Repeat("x", MaxLine+1) + "\n")); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Error(err)
	}
	rec, err := Read(strings.NewReader(head + `{"type":"weather","sunny":true}` + "\n" + `{"type":"result","connected":true,"more":1}` + "\n"))
	if err != nil || len(rec.Attempts) != 1 || !rec.Attempts[0].Result.Connected {
		t.Errorf("what a later version adds is not skipped: %+v %v", rec, err)
	}
}

func TestWriteError(t *testing.T) {
	full := errors.New("full")
	w := NewWriter(failing{full}, "peerd/test", proto.ID{2})
	connectOnce(w)
	if !errors.Is(w.Err(), full) {
		t.Error(w.Err())
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func FuzzRead(f *testing.F) {
	f.Add(record(connectOnce).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, a := range rec.Attempts {
			if a.Introduction != nil {
				a.Introduction.Initiator.NAT.Report()
			}
		}
	})
}
