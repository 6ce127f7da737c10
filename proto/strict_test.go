package proto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// strictCases are payloads with one thing wrong in their encoding. The hex is
// written with spaces; {T}, {I} and {C} stand for a token, an ID and an
// observed candidate as byte strings.
var strictCases = []struct {
	name string
	typ  Type
	hex  string
	ok   bool
}{
	{"a ping", TypePing, "a1 01 05", true},
	{"integers in a longer form", TypePing, "b801 1801 1b0000000000000005", true},
	{"fields in another order", TypeOffer, "a2 02 {I} 01 {T}", true},
	{"an unknown field", TypePing, "a2 01 05 17 64 74657874", true},
	{"an unknown negative field", TypePing, "a2 01 05 20 f5", true},
	{"an unknown field of text", TypePing, "a2 01 05 61 78 f5", true},
	{"an unknown field with nested content", TypePing, "a2 01 05 17 81 a1 01 81 00", true},
	{"an unknown field with a float", TypePing, "a2 01 05 17 f93c00", true},

	{"32 fields", TypePing, "b820" + manyFields(32), true},
	{"an unknown array of 64 numbers", TypePing, "a2 01 05 17 9840" + strings.Repeat("00", 64), true},

	{"33 fields", TypePing, "b821" + manyFields(33), false},
	{"an unknown array of 65 numbers", TypePing, "a2 01 05 17 9841" + strings.Repeat("00", 65), false},
	{"nothing", TypePing, "", false},
	{"null", TypePing, "f6", false},
	{"undefined", TypePing, "f7", false},
	{"an array", TypePing, "81 05", false},
	{"a number", TypePing, "05", false},
	{"a byte string around the map", TypePing, "43 a10105", false},
	{"a trailing byte", TypePing, "a1 01 05 00", false},
	{"two maps", TypePing, "a1 01 05 a1 01 05", false},
	{"a cut map", TypePing, "a1 01", false},
	{"a duplicate field", TypePing, "a2 01 05 01 05", false},
	{"a duplicate field in two forms", TypePing, "a2 01 05 1801 06", false},
	{"a duplicate unknown field", TypePing, "a3 01 05 17 00 17 01", false},
	{"an indefinite map", TypePing, "bf 01 05 ff", false},
	{"an indefinite string", TypeOpen, "a1 01 7f 62 3232 ff", false},
	{"a tag around the map", TypePing, "d9d9f7 a1 01 05", false},
	{"a tag in a field", TypePing, "a1 01 c0 05", false},
	{"a bignum", TypePing, "a1 01 c2 41 05", false},
	{"a tag in an unknown field", TypePing, "a2 01 05 17 c0 05", false},
	{"reserved length", TypePing, "a1 01 1c", false},
	{"nested too deeply", TypePing, "a2 01 05 17 81 81 81 81 00", false},
	{"an array that is longer than the payload", TypeIntroduce, "a3 01 01 02 {I} 03 9affffffff", false},
	{"an array that is too long", TypeIntroduce, "a3 01 01 02 {I} 03 9841" + strings.Repeat(" {C}", 65), false},
	{"a string that is longer than the payload", TypeOpen, "a1 01 7affffffff", false},

	{"null for a number", TypePing, "a1 01 f6", false},
	{"undefined for a number", TypePing, "a1 01 f7", false},
	{"simple(5) for a number", TypePing, "a1 01 e5", false},
	{"simple(255) for a number", TypePing, "a1 01 f8ff", false},
	{"null in an unknown field", TypePing, "a2 01 05 17 f6", false},
	{"true for a number", TypePing, "a1 01 f5", false},
	{"a negative number", TypePing, "a1 01 20", false},
	{"a float for a number", TypePing, "a1 01 f94500", false},
	{"text for a number", TypePing, "a1 01 61 35", false},
	{"bytes for a number", TypePing, "a1 01 41 05", false},
	{"a number that is too large", TypeDeclined, "a2 01 1b0000000100000000 02 01", false},
	{"a code that is too large", TypeFailure, "a1 01 1a00010000", false},
	{"the field's number as text", TypeOpen, "a1 61 31 62 3232", false},
	{"the field's name", TypeOpen, "a1 66 546172676574 62 3232", false},
	{"null for a list", TypeIntroduce, "a3 01 01 02 {I} 03 f6", false},
	{"null for text", TypeFailure, "a2 01 01 02 f6", false},
	{"bytes for text", TypeOpen, "a1 01 42 3232", false},
	{"invalid UTF-8", TypeOpen, "a1 01 62 c328", false},
	{"an array for text", TypeOpen, "a1 01 82 1832 1832", false},
	{"0 for false", TypeAnswer, "a2 01 {T} 02 00", false},
	{"1 for true", TypeAnswer, "a2 01 {T} 02 01", false},
	{"null for false", TypeAnswer, "a2 01 {T} 02 f6", false},

	{"waiting as long as can be", TypeIntroduce, "a3 01 01 02 {I} 04 19ffff", true},
	{"a wait that is too large", TypeIntroduce, "a3 01 01 02 {I} 04 1a00010000", false},
	{"a negative wait", TypeIntroduce, "a3 01 01 02 {I} 04 20", false},
	{"a float for a wait", TypeIntroduce, "a3 01 01 02 {I} 04 f93c00", false},
	{"null for a wait", TypeIntroduce, "a3 01 01 02 {I} 04 f6", false},
	{"true for a wait", TypeIntroduce, "a3 01 01 02 {I} 04 f5", false},
	{"a request to withdraw that is too large", TypeWithdraw, "a1 01 1b0000000100000000", false},
	{"null for a request to withdraw", TypeWithdraw, "a1 01 f6", false},
	{"a listen", TypeListen, "a2 01 61 30 02 61 78", true},
	{"a listen with an unknown field", TypeListen, "a3 01 61 30 02 61 78 03 05", true},
	{"bytes for an address to listen at", TypeListen, "a2 01 41 30 02 61 78", false},
	{"a number for an address to listen at", TypeListen, "a2 01 18 50 02 61 78", false},
	{"null for a reply", TypeListen, "a2 01 61 30 02 f6", false},
	{"a duplicate reply", TypeListen, "a3 01 61 30 02 61 78 02 61 78", false},
	{"invalid UTF-8 in a reply", TypeListen, "a2 01 61 30 02 62 c328", false},
	{"a listening address of bytes", TypeListening, "a1 03 41 31", false},
	{"null for a listening address", TypeListening, "a1 03 f6", false},
	{"a nonce of 15 bytes", TypePairing, "a1 01 4f 010101010101010101010101010101", false},
	{"a signature of text", TypeClaim, "a1 03 61 31", false},
	{"a pairing code that is too large", TypePaired, "a1 01 1a00010000", false},
	{"a listening code that is too large", TypeListening, "a1 01 1a00010000", false},

	{"a report of NATs", TypeIntroduce, "a3 01 01 02 {I} 06 a2 03 20 07 82 01 19ffff", true},
	{"a report of NATs with an unknown field", TypeIntroduce, "a3 01 01 02 {I} 06 a1 17 81 00", true},
	{"null for a report of NATs", TypeIntroduce, "a3 01 01 02 {I} 06 f6", false},
	{"a report of NATs as an array", TypeIntroduce, "a3 01 01 02 {I} 06 80", false},
	{"a report of NATs as a byte string", TypeIntroduce, "a3 01 01 02 {I} 06 41 a0", false},
	{"a step that is too large", TypeIntroduce, "a3 01 01 02 {I} 06 a1 03 398000", false},
	{"a duplicate field in a report of NATs", TypeIntroduce, "a3 01 01 02 {I} 06 a2 01 01 01 01", false},
	{"samples of bytes", TypeIntroduce, "a3 01 01 02 {I} 06 a1 07 41 01", false},
	{"a sample that is too large", TypeIntroduce, "a3 01 01 02 {I} 06 a1 07 81 1a00010000", false},

	{"a dial-back", TypeDialBack, "a3 01 01 02 02 03 {C}", true},
	{"a dial-back from where is not known", TypeDialBack, "a3 01 01 02 18ff 03 {C}", true},
	{"an origin that is too large", TypeDialBack, "a3 01 01 02 190100 03 {C}", false},
	{"null for an origin", TypeDialBack, "a3 01 01 02 f6 03 {C}", false},
	{"an outcome that is too large", TypeDialedBack, "a2 01 01 02 190100", false},
	{"text for a second address", TypeRegistered, "a2 01 {C} 03 64 61616161", false},
	{"a second address as an array of numbers", TypeRegistered, "a2 01 {C} 03 84 01010101", false},

	{"a short token", TypeAnswer, "a1 01 4f" + strings.Repeat("01", 15), false},
	{"a long token", TypeAnswer, "a1 01 51" + strings.Repeat("01", 17), false},
	{"an empty token", TypeAnswer, "a1 01 40", false},
	{"a token of text", TypeAnswer, "a1 01 70" + strings.Repeat("61", 16), false},
	{"a token as an array of numbers", TypeAnswer, "a1 01 90" + strings.Repeat("01", 16), false},
	{"a token as an array of one number", TypeAnswer, "a1 01 81 01", false},
	{"null for a token", TypeAnswer, "a1 01 f6", false},
	{"a short ID", TypeOffer, "a2 01 {T} 02 581f" + strings.Repeat("01", 31), false},
	{"an ID as an array of numbers", TypeOffer, "a2 01 {T} 02 9820" + strings.Repeat("01", 32), false},
	{"null for an ID", TypeOffer, "a2 01 {T} 02 f6", false},
	{"null for an ID in a list", TypeRegister, "a3 01 {T} 02 01 04 81 f6", false},
	{"a transcript as an array of numbers", TypeIntroduction, "a2 02 5820" + strings.Repeat("01", 32) + " 03 82 1801 1801", false},
	{"a secret as an array of numbers", TypeIntroduction, "a2 02 9820" + strings.Repeat("01", 32) + " 03 41 a0", false},

	{"an observed endpoint", TypeRegistered, "a1 01 {C}", true},
	{"a candidate as a map of names", TypeRegistered, "a1 01 a2 64 4b696e64 02 64 41646472 46 c00002010fa0", false},
	{"a candidate as an empty map", TypeIntroduce, "a3 01 01 02 {I} 03 81 a0", false},
	{"a candidate as an array", TypeIntroduce, "a3 01 01 02 {I} 03 81 80", false},
	{"null for a candidate", TypeIntroduce, "a3 01 01 02 {I} 03 81 f6", false},
	{"an empty candidate", TypeRegistered, "a1 01 40", false},
	{"a candidate without address", TypeRegistered, "a1 01 47 02 00000000 0fa0", false},
	{"a candidate with half an IPv6 address", TypeRegistered, "a1 01 4f 02 00000000 0fa0 20010db800000000", false},
	{"a 4in6 address", TypeRegistered, "a1 01 57 02 00000000 0fa0 00000000000000000000ffffc0000201", false},
	{"the unspecified IPv4 address", TypeRegistered, "a1 01 4b 02 00000000 0fa0 00000000", false},
	{"the unspecified IPv6 address", TypeRegistered, "a1 01 57 02 00000000 0fa0" + strings.Repeat("00", 16), false},
	{"port 0", TypeRegistered, "a1 01 4b 02 00000000 0000 c0000201", false},
	{"kind 0", TypeIntroduce, "a3 01 01 02 {I} 03 81 4b 00 00000000 0fa0 c0000201", false},
	{"wrong kind for observed", TypeRegistered, "a1 01 4b 01 00000000 0fa0 c0000201", false},
	{"unknown kind for observed", TypeRegistered, "a1 01 4b 03 00000000 0fa0 c0000201", false},
}

// manyFields are the fields 1 to n of a map, each with the value 5.
func manyFields(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf("18%02x05", i+1)
	}
	return text
}

func strictPayload(t *testing.T, text string) []byte {
	t.Helper()
	token, id := sampleToken(1), sampleID(1)
	candidate, err := sampleCandidate(Observed, "192.0.2.1:4000").MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	text = strings.NewReplacer(
		" ", "",
		"{T}", "50"+hex.EncodeToString(token[:]),
		"{I}", "5820"+hex.EncodeToString(id[:]),
		"{C}", "4b"+hex.EncodeToString(candidate),
	).Replace(text)
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStrictDecoding(t *testing.T) {
	for _, c := range strictCases {
		m, err := Parse(c.typ, strictPayload(t, c.hex))
		if c.ok != (err == nil) || (m == nil) != (err != nil) {
			t.Errorf("%s: %+v, %v", c.name, m, err)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", c.name, err)
		}
	}
}

// FuzzRead covers frames and all messages. What a message does not know is
// lost in it, so the property is that of the parsed value.
func FuzzRead(f *testing.F) {
	for _, m := range sampleMessages() {
		b, _ := Append(nil, m.message)
		f.Add(b)
	}
	f.Add([]byte{1, 0x80, 0, 0, 1, 8, 0, 3, 0xa1, 1, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		first, err := Append(nil, m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		again, err := Read(bytes.NewReader(first))
		if err != nil || again.Type() != m.Type() {
			t.Fatalf("%x: %v", first, err)
		}
		if second, err := Append(nil, again); err != nil || !bytes.Equal(second, first) {
			t.Errorf("%x became %x, %v", first, second, err)
		}
	})
}

// FuzzParse is FuzzRead without the frame, which the fuzzer would have to keep
// right.
func FuzzParse(f *testing.F) {
	for _, m := range sampleMessages() {
		b, _ := Append(nil, m.message)
		f.Add(b[1], b[frameHeader:])
	}
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		m, err := Parse(Type(typ), payload)
		if err != nil {
			known(t, err)
		}
		if skipped := Type(typ).Ignorable() && newMessage(Type(typ)) == nil; (m == nil) != (err != nil || skipped) {
			t.Fatalf("%v, %v", m, err)
		}
		if m == nil {
			return
		}
		first, err := Append(nil, m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		again, err := Parse(Type(typ), first[frameHeader:])
		if err != nil {
			t.Fatalf("%x: %v", first, err)
		}
		if second, err := Append(nil, again); err != nil || !bytes.Equal(second, first) {
			t.Errorf("%x became %x, %v", first, second, err)
		}
	})
}
