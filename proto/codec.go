package proto

import (
	"encoding"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		// A field is there with its type or it is not there: the default takes
		// null for every type's zero value and simple(5) for the number 5.
		SimpleValues:     must(cbor.NewSimpleValueRegistryFromDefaults(rejectedSimpleValues()...)),
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 64,
		MaxMapPairs:      32,
	}.DecMode())
)

// rejectedSimpleValues returns all simple values but false (20) and true (21).
// Those from 24 to 31 are not well-formed anyway (RFC 8949, section 3.3).
func rejectedSimpleValues() (options []func(*cbor.SimpleValueRegistry) error) {
	for v := range 256 {
		if v < 20 || v == 22 || v == 23 || v >= 32 {
			options = append(options, cbor.WithRejectedSimpleValue(cbor.SimpleValue(v)))
		}
	}
	return options
}

// fromByteString has v unmarshal the content of a CBOR byte string and refuses
// every other type. Without it package cbor would fill an array of bytes from
// an array of fewer numbers, and a struct from a map, past all checks.
func fromByteString(v encoding.BinaryUnmarshaler, data []byte) error {
	const majorByteString = 2
	if len(data) == 0 || data[0]>>5 != majorByteString {
		return fmt.Errorf("%w: no byte string where %T belongs", ErrMalformed, v)
	}
	var b []byte
	if err := decode(data, &b); err != nil {
		return err
	}
	return v.UnmarshalBinary(b)
}

// ByteString is bytes of any number. Package cbor would take an array of numbers
// for a slice of bytes, too.
type ByteString []byte

// UnmarshalCBOR implements cbor.Unmarshaler.
func (b *ByteString) UnmarshalCBOR(data []byte) error { return fromByteString(b, data) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (b *ByteString) UnmarshalBinary(data []byte) error {
	*b = data
	return nil
}

// decode decodes one CBOR item into what v points to.
func decode(data []byte, v any) error {
	err := decMode.Unmarshal(data, v)
	if err != nil && !errors.Is(err, ErrMalformed) { // ours come back as they are
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options above are constants
	}
	return v
}

// Append appends the frame of a message to b. It shortens and cleans text that
// is meant for people as far as MaxText and the rule of printable characters
// demand. The error wraps ErrMalformed or ErrTooLarge; b is then unchanged.
func Append(b []byte, m Message) ([]byte, error) {
	if t, ok := m.(interface{ withCleanText() Message }); ok {
		m = t.withCleanText()
	}
	if err := m.Check(); err != nil {
		return b, err
	}
	payload, err := encMode.Marshal(m)
	if err != nil {
		return b, err
	}
	return AppendFrame(b, m.Type(), payload)
}

// Parse decodes the payload of a frame. It returns nil and no error for an
// unknown type that is Ignorable; all errors wrap ErrMalformed or ErrTooLarge.
func Parse(t Type, payload []byte) (Message, error) {
	m := newMessage(t)
	if m == nil {
		if t.Ignorable() {
			return nil, nil
		}
		return nil, fmt.Errorf("%w: %s", ErrMalformed, t)
	}
	if err := decode(payload, m); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return m, nil
}

// Read reads and decodes the next message, skipping ignorable ones. Its errors
// are those of ReadFrame and Parse.
func Read(r io.Reader) (Message, error) {
	for {
		t, payload, err := ReadFrame(r)
		if err != nil {
			return nil, err
		}
		if m, err := Parse(t, payload); m != nil || err != nil {
			return m, err
		}
	}
}

// Write encodes m and writes it with a single call of w.Write.
func Write(w io.Writer, m Message) error {
	b, err := Append(nil, m)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
