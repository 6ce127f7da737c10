package proto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// testdata/vectors.json is for second implementations: whoever reproduces it
// in both directions speaks the protocol. This program is held to it, too. A
// vector that changes is a new version of the protocol, so -update is for
// additions.
var update = flag.Bool("update", false, "write testdata/vectors.json")

const vectorsFile = "testdata/vectors.json"

type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

type vectors struct {
	IDs             []idVector        `json:"ids"`
	BadIDs          []badText         `json:"bad_ids"`
	ServerURLs      []serverURLVector `json:"server_urls"`
	BadServerURLs   []badText         `json:"bad_server_urls"`
	Tickets         []ticketVector    `json:"tickets"`
	BadTickets      []badText         `json:"bad_tickets"`
	Candidates      []candidateVector `json:"candidates"`
	Messages        []messageVector   `json:"messages"`
	AcceptedFrames  []frameVector     `json:"accepted_frames"`
	BadFrames       []frameVector     `json:"bad_frames"`
	Transcripts     []cborVector      `json:"transcripts"`
	Preambles       []preambleVector  `json:"preambles"`
	AttachRecords   []attachVector    `json:"attach_records"`
	BadAttachRecord []badBytes        `json:"bad_attach_records"`
}

type (
	idVector struct {
		Key  hexBytes `json:"key"`
		Text string   `json:"text"`
	}
	badText struct {
		Text  string `json:"text"`
		Error string `json:"error"`
	}
	badBytes struct {
		Name  string   `json:"name"`
		Bytes hexBytes `json:"bytes"`
		Error string   `json:"error"`
	}
	serverURLVector struct {
		URL  string `json:"url"`
		Host string `json:"host"`
		Port uint16 `json:"port"`
		Key  ID     `json:"key"`
		// Canonical is how the URL is written.
		Canonical string `json:"canonical"`
	}
	ticketVector struct {
		Text    string   `json:"text"`
		Server  string   `json:"server"`
		Creator ID       `json:"creator"`
		Seed    hexBytes `json:"seed"`
		// KeySeed is that of the one-time identity, whose ID is OneTime.
		KeySeed hexBytes `json:"key_seed"`
		OneTime ID       `json:"one_time_id"`
	}
	candidateVector struct {
		Bytes hexBytes `json:"bytes"`
		Candidate
	}
	// cborVector has the content in diagnostic notation (RFC 8949, section 8).
	cborVector struct {
		Name       string   `json:"name"`
		Bytes      hexBytes `json:"bytes"`
		Diagnostic string   `json:"diagnostic"`
	}
	messageVector struct {
		Name       string   `json:"name"`
		Type       Type     `json:"type"`
		Frame      hexBytes `json:"frame"`
		Diagnostic string   `json:"diagnostic"`
	}
	// frameVector is a frame that no sender of this version makes.
	frameVector struct {
		Name  string   `json:"name"`
		Frame hexBytes `json:"frame"`
		Error string   `json:"error,omitempty"`
		// MeansSame is the frame that it is read as.
		MeansSame hexBytes `json:"means_same,omitempty"`
	}
	preambleVector struct {
		Role         Role     `json:"role"`
		Introduction Token    `json:"introduction"`
		Secret       hexBytes `json:"secret"`
		Nonce        hexBytes `json:"nonce"`
		Bytes        hexBytes `json:"bytes"`
	}
	attachVector struct {
		Kind       AttachKind `json:"kind"`
		Code       Code       `json:"code"`
		Session    Token      `json:"session"`
		Epoch      uint64     `json:"epoch"`
		Received   uint64     `json:"received"`
		SessionKey hexBytes   `json:"session_key"`
		Exporter   hexBytes   `json:"exporter"`
		Bytes      hexBytes   `json:"bytes"`
	}
)

// errorNames are how vectors.json calls the errors.
var errorNames = map[error]string{
	ErrIDLength: "length", ErrIDAlphabet: "alphabet", ErrIDVersion: "version of the ID", ErrIDChecksum: "checksum",
	ErrTicket: "no ticket", ErrTicketVersion: "version of the ticket", ErrTicketChecksum: "checksum of the ticket", ErrServerURL: "form", ErrMalformed: "malformed", ErrTooLarge: "too large", ErrVersion: "version",
	io.ErrUnexpectedEOF: "cut off",
}

func is(err error, name string) bool {
	for e, n := range errorNames {
		if n == name {
			return errors.Is(err, e)
		}
	}
	return false
}

func makeVectors(t *testing.T) *vectors {
	return &vectors{
		IDs:             makeIDs(),
		BadIDs:          makeBadIDs(),
		ServerURLs:      makeServerURLs(t),
		BadServerURLs:   makeBadServerURLs(),
		Tickets:         makeTickets(),
		BadTickets:      makeBadTickets(),
		Candidates:      makeCandidates(t),
		Messages:        makeMessages(t),
		AcceptedFrames:  makeAcceptedFrames(t),
		BadFrames:       makeBadFrames(t),
		Transcripts:     makeTranscripts(t),
		Preambles:       makePreambles(),
		AttachRecords:   makeAttachRecords(),
		BadAttachRecord: makeBadAttachRecords(),
	}
}

func makeIDs() (list []idVector) {
	for _, id := range []ID{sampleID(1), sampleID(2), sampleID(3)} {
		list = append(list, idVector{Key: id[:], Text: id.String()})
	}
	return list
}

func makeBadIDs() []badText {
	good := sampleID(1).String()
	return []badText{
		{good[:55], "length"},
		{good + "a", "length"},
		{"P" + good[1:], "alphabet"},
		{good[:55] + "1", "alphabet"},
		{good[:55] + "\n", "alphabet"},
		{good[:55] + other(good[55]), "checksum"},
		{good[:1] + good[2:3] + good[1:2] + good[3:], "checksum"},
		{withPrefix(idPrefix+1, sampleID(1)), "version of the ID"},
	}
}

func makeServerURLs(t *testing.T) (list []serverURLVector) {
	for _, s := range []string{
		"peerd://203.0.113.7", "peerd://203.0.113.7:443/", "PEERD://vps.example.org:7878",
		"peerd://[2001:db8::1]", "peerd://[fe80::1%25eth0]:1",
	} {
		s += "#" + sampleID(1).String()
		u, err := ParseServerURL(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, serverURLVector{s, u.Host, u.Port, u.Key, u.String()})
	}
	return list
}

func makeBadServerURLs() (list []badText) {
	good := sampleID(1).String()
	for _, s := range []string{"https://host#", "peerd://host:0#", "peerd://2001:db8::1#", "peerd://host/path#", "peerd://user@host#", "peerd://host?a#"} {
		list = append(list, badText{s + good, "form"})
	}
	return append(list,
		badText{"peerd://host", "length"},
		badText{"peerd://host#" + good[:55] + other(good[55]), "checksum"})
}

func makeTickets() (list []ticketVector) {
	for _, host := range []string{"203.0.113.7", "vps.example.org", "2001:db8::1"} {
		k := sampleTicket()
		k.Server.Host = host
		list = append(list, ticketVector{k.String(), k.Server.String(), k.Creator, k.Seed[:], k.KeySeed(), k.OneTimeID()})
	}
	return list
}

func makeBadTickets() []badText {
	good := sampleTicket().String()
	nowhere := sampleTicket()
	nowhere.Server.Port = 0
	return []badText{
		{sampleID(1).String(), "no ticket"},
		{good + "\n", "no ticket"},
		{good + "1", "no ticket"},
		{"peerd2" + good[6:], "version of the ticket"},
		{good[:len(good)-8], "checksum of the ticket"},
		{good[:40] + other(good[40]) + good[41:], "checksum of the ticket"},
		{nowhere.String(), "form"},
	}
}

func makeCandidates(t *testing.T) (list []candidateVector) {
	for _, c := range []Candidate{
		sampleCandidate(Host, "10.0.0.2:4000"),
		sampleCandidate(Host, "[2001:db8::2]:4000"),
		sampleCandidate(Observed, "192.0.2.1:65535"),
		sampleCandidate(255, "192.0.2.1:1"),
	} {
		b, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, candidateVector{b, c})
	}
	return list
}

func diagnose(t *testing.T, b []byte) string {
	t.Helper()
	s, err := cbor.Diagnose(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func frameOf(t *testing.T, m Message) []byte {
	t.Helper()
	b, err := Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeMessages(t *testing.T) (list []messageVector) {
	for _, m := range sampleMessages() {
		b := frameOf(t, m.message)
		list = append(list, messageVector{m.name, m.message.Type(), b, diagnose(t, b[frameHeader:])})
	}
	return list
}

func strictFrame(t *testing.T, typ Type, text string) []byte {
	t.Helper()
	b, err := AppendFrame(nil, typ, strictPayload(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeAcceptedFrames(t *testing.T) (list []frameVector) {
	for _, c := range strictCases {
		if !c.ok {
			continue
		}
		b := strictFrame(t, c.typ, c.hex)
		m, err := Read(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, frameVector{Name: c.name, Frame: b, MeansSame: frameOf(t, m)})
	}
	ping := frameOf(t, &Ping{N: 5})
	skipped := append([]byte{1, 0x80, 0, 1, 0xff}, ping...)
	return append(list, frameVector{Name: "an unknown type from 0x80 on, then a ping", Frame: skipped, MeansSame: ping})
}

func makeBadFrames(t *testing.T) []frameVector {
	list := []frameVector{
		{Name: "half a header", Frame: hexBytes{1, 8}, Error: "cut off"},
		{Name: "half a payload", Frame: hexBytes{1, 8, 0, 3, 0xa1}, Error: "cut off"},
		{Name: "version 0", Frame: hexBytes{0, 8, 0, 3, 0xa1, 1, 5}, Error: "version"},
		{Name: "version 2", Frame: hexBytes{2, 8, 0, 3, 0xa1, 1, 5}, Error: "version"},
		{Name: "a payload of 16385 bytes", Frame: hexBytes{1, 8, 0x40, 1}, Error: "too large"},
		{Name: "type 0", Frame: hexBytes{1, 0, 0, 1, 0xa0}, Error: "malformed"},
		{Name: "an unknown type below 0x80", Frame: hexBytes{1, 0x7f, 0, 1, 0xa0}, Error: "malformed"},
		{Name: "an unknown type from 0x80 on, too large", Frame: hexBytes{1, 0x80, 0xff, 0xff}, Error: "too large"},
	}
	for _, c := range strictCases {
		if !c.ok {
			list = append(list, frameVector{Name: c.name, Frame: strictFrame(t, c.typ, c.hex), Error: "malformed"})
		}
	}
	for _, c := range badMessages() {
		payload, err := encMode.Marshal(c.message)
		if err != nil {
			continue // the address has no encoding
		}
		b, err := AppendFrame(nil, c.message.Type(), payload)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Read(bytes.NewReader(b))
		for _, e := range []error{ErrMalformed, ErrTooLarge} {
			if errors.Is(err, e) {
				list = append(list, frameVector{Name: c.message.Type().String() + ": " + c.name, Frame: b, Error: errorNames[e]})
			}
		}
	}
	return list
}

func makeTranscripts(t *testing.T) (list []cborVector) {
	for _, v := range []struct {
		name       string
		transcript *Transcript
	}{
		{"a transcript", sampleTranscript()},
		{"everything at its limit", maximalTranscript()},
		{"port modes", modesTranscript()},
		{"NAT reports", natTranscript()},
		{"no guesses", noGuessTranscript()},
	} {
		b, err := v.transcript.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, cborVector{v.name, b, diagnose(t, b)})
	}
	return list
}

func makePreambles() (list []preambleVector) {
	for _, r := range []Role{Initiator, Responder} {
		v := preambleVector{Role: r, Introduction: sampleToken(3), Secret: make(hexBytes, 32), Nonce: make(hexBytes, 16)}
		fill(v.Secret, 4)
		fill(v.Nonce, 5)
		p := newPreamble(v.Role, v.Introduction, Secret(v.Secret), [16]byte(v.Nonce))
		v.Bytes = p[:]
		list = append(list, v)
	}
	return list
}

func makeAttachRecords() (list []attachVector) {
	attached, refused := sampleAttach(), sampleAttach()
	attached.Kind, attached.Received = KindAttached, 0
	refused.Kind, refused.Code, refused.Received = KindRefused, CodeNoSession, 0
	for _, a := range []Attach{sampleAttach(), attached, refused} {
		v := attachVector{a.Kind, a.Code, a.Session, a.Epoch, a.Received, make(hexBytes, 32), make(hexBytes, 32), nil}
		fill(v.SessionKey, 6)
		fill(v.Exporter, 7)
		b := a.Marshal(v.SessionKey, v.Exporter)
		v.Bytes = b[:]
		list = append(list, v)
	}
	return list
}

func makeBadAttachRecords() []badBytes {
	spoilt := func(spoil func(b *[AttachSize]byte)) hexBytes {
		b := sampleAttach().Marshal(nil, nil)
		spoil(&b)
		return b[:]
	}
	return []badBytes{
		{"version 2", spoilt(func(b *[AttachSize]byte) { b[1] = 2 }), "version"},
		{"kind 4", spoilt(func(b *[AttachSize]byte) { b[0] = 4 }), "malformed"},
		{"ATTACH with a code", spoilt(func(b *[AttachSize]byte) { b[3] = 1 }), "malformed"},
		{"REFUSED without a code", spoilt(func(b *[AttachSize]byte) { b[0] = 3 }), "malformed"},
		{"session zero", spoilt(func(b *[AttachSize]byte) { clear(b[4:20]) }), "malformed"},
		{"epoch zero", spoilt(func(b *[AttachSize]byte) { clear(b[20:28]) }), "malformed"},
	}
}

func TestVectorsAreCurrent(t *testing.T) {
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(makeVectors(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorsFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsFile)
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what this program makes (%v): if the protocol was only extended, run go test ./proto -update", vectorsFile, err)
	}
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	b, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIDVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.IDs {
		if id, err := ParseID(c.Text); err != nil || id != ID(c.Key) || ID(c.Key).String() != c.Text {
			t.Errorf("%s: %x, %v", c.Text, id, err)
		}
	}
	for _, c := range v.BadIDs {
		if _, err := ParseID(c.Text); !is(err, c.Error) {
			t.Errorf("%q: %v, want %s", c.Text, err, c.Error)
		}
	}
}

func TestServerURLVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.ServerURLs {
		want := ServerURL{c.Host, c.Port, c.Key}
		if got, err := ParseServerURL(c.URL); err != nil || got != want || got.String() != c.Canonical {
			t.Errorf("%s: %+v, %v", c.URL, got, err)
		}
		if got, err := ParseServerURL(c.Canonical); err != nil || got != want {
			t.Errorf("%s: %+v, %v", c.Canonical, got, err)
		}
	}
	for _, c := range v.Tickets {
		k, err := ParseTicket(c.Text)
		if err != nil || k.String() != c.Text || k.Server.String() != c.Server || k.Creator != c.Creator || !bytes.Equal(k.Seed[:], c.Seed) ||
			!bytes.Equal(k.KeySeed(), c.KeySeed) || k.OneTimeID() != c.OneTime {
			t.Errorf("%s: %+v, %v", c.Text, k, err)
		}
	}
	for _, c := range v.BadTickets {
		if _, err := ParseTicket(c.Text); !is(err, c.Error) {
			t.Errorf("%s: %v, want %s", c.Text, err, c.Error)
		}
	}
	for _, c := range v.BadServerURLs {
		if _, err := ParseServerURL(c.Text); !is(err, c.Error) {
			t.Errorf("%q: %v, want %s", c.Text, err, c.Error)
		}
	}
}

func TestCandidateVectors(t *testing.T) {
	for _, c := range readVectors(t).Candidates {
		var got Candidate
		if err := got.UnmarshalBinary(c.Bytes); err != nil || got != c.Candidate {
			t.Errorf("%x: %v, %v", c.Bytes, got, err)
		}
		if b, err := c.Candidate.MarshalBinary(); err != nil || !bytes.Equal(b, c.Bytes) {
			t.Errorf("%v: %x, %v", c.Candidate, b, err)
		}
	}
}

func TestMessageVectors(t *testing.T) {
	samples := sampleMessages()
	for i, c := range readVectors(t).Messages {
		if got, err := Read(bytes.NewReader(c.Frame)); err != nil || !reflect.DeepEqual(got, samples[i].message) || got.Type() != c.Type {
			t.Errorf("%s: %+v, %v", c.Name, got, err)
		}
		if b, err := Append(nil, samples[i].message); err != nil || !bytes.Equal(b, c.Frame) {
			t.Errorf("%s: %x, %v", c.Name, b, err)
		}
		if d := diagnose(t, c.Frame[frameHeader:]); d != c.Diagnostic {
			t.Errorf("%s: %s", c.Name, d)
		}
	}
}

func TestFrameVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.AcceptedFrames {
		m, err := Read(bytes.NewReader(c.Frame))
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if b, err := Append(nil, m); err != nil || !bytes.Equal(b, c.MeansSame) {
			t.Errorf("%s: read as %x, %v", c.Name, b, err)
		}
	}
	for _, c := range v.BadFrames {
		if m, err := Read(bytes.NewReader(c.Frame)); m != nil || !is(err, c.Error) {
			t.Errorf("%s: %+v, %v, want %s", c.Name, m, err, c.Error)
		}
	}
}

func TestTranscriptVectors(t *testing.T) {
	for i, want := range []*Transcript{sampleTranscript(), maximalTranscript(), modesTranscript(), natTranscript(), noGuessTranscript()} {
		c := readVectors(t).Transcripts[i]
		if got, err := ParseTranscript(c.Bytes); err != nil || !reflect.DeepEqual(got, want) || diagnose(t, c.Bytes) != c.Diagnostic {
			t.Errorf("%s: %+v, %v", c.Name, got, err)
		}
		if b, err := want.Marshal(); err != nil || !bytes.Equal(b, c.Bytes) {
			t.Errorf("%s: %x, %v", c.Name, b, err)
		}
	}
}

func TestPreambleVectors(t *testing.T) {
	for _, c := range readVectors(t).Preambles {
		p := Preamble(c.Bytes)
		if err := p.Verify(c.Role, c.Introduction, Secret(c.Secret)); err != nil {
			t.Errorf("%v: %v", c.Role, err)
		}
		if got := newPreamble(c.Role, c.Introduction, Secret(c.Secret), [16]byte(c.Nonce)); got != p {
			t.Errorf("%v: %x", c.Role, got)
		}
	}
}

func TestAttachVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.AttachRecords {
		want := Attach{c.Kind, c.Code, c.Session, c.Epoch, c.Received}
		b := [AttachSize]byte(c.Bytes)
		if got, err := ParseAttach(b); err != nil || got != want || !VerifyAttach(b, c.SessionKey, c.Exporter) {
			t.Errorf("%x: %+v, %v", b, got, err)
		}
		if got := want.Marshal(c.SessionKey, c.Exporter); got != b {
			t.Errorf("%+v: %x", want, got)
		}
	}
	for _, c := range v.BadAttachRecord {
		if got, err := ParseAttach([AttachSize]byte(c.Bytes)); !is(err, c.Error) {
			t.Errorf("%s: %+v, %v, want %s", c.Name, got, err, c.Error)
		}
	}
}
