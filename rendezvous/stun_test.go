package rendezvous

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pion/stun/v3"
)

var stunFrom = netip.MustParseAddrPort("198.51.100.1:40000")

func buildSTUN(t testing.TB, setters ...stun.Setter) *stun.Message {
	t.Helper()
	m, err := stun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rawAttribute adds an attribute of any type.
type rawAttribute struct {
	t stun.AttrType
	v []byte
}

func (a rawAttribute) AddTo(m *stun.Message) error {
	m.Add(a.t, a.v)
	return nil
}

func TestSTUNResponse(t *testing.T) {
	for _, from := range []string{"198.51.100.1:40000", "[2001:db8::1]:40000", "[::ffff:198.51.100.1]:40000"} {
		for _, fingerprint := range []bool{false, true} {
			setters := []stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername("ignored")}
			if fingerprint {
				setters = append(setters, stun.Fingerprint)
			}
			request := buildSTUN(t, setters...)
			answer, err := respond(request, netip.MustParseAddrPort(from))
			if err != nil {
				t.Fatal(err)
			}
			got := new(stun.Message)
			if err := stun.Decode(answer.Raw, got); err != nil {
				t.Fatal(err)
			}
			want := netip.MustParseAddrPort(from)
			want = netip.AddrPortFrom(want.Addr().Unmap(), want.Port())
			if addr, err := mappedAddress(got); err != nil || addr != want {
				t.Errorf("mapped address %v, %v, want %v", addr, err, want)
			}
			var software stun.Software
			if err := software.GetFrom(got); err != nil || software.String() != stunSoftware {
				t.Errorf("software %q, %v", software, err)
			}
			if got.TransactionID != request.TransactionID || got.Contains(stun.AttrFingerprint) != fingerprint {
				t.Errorf("response %v", got)
			}
			if fingerprint {
				if err := stun.Fingerprint.Check(got); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestSTUNUnknownAttributes(t *testing.T) {
	request := buildSTUN(t, stun.TransactionID, stun.BindingRequest,
		rawAttribute{stun.AttrChangeRequest, make([]byte, 4)}, // RFC 5780, not offered here
		rawAttribute{0x7abc, nil}, rawAttribute{0x7abc, nil}, rawAttribute{0x8abc, nil})
	answer, err := respond(request, stunFrom)
	if err != nil {
		t.Fatal(err)
	}
	var code stun.ErrorCodeAttribute
	var unknown stun.UnknownAttributes
	if err := answer.Parse(&code, &unknown); err != nil {
		t.Fatal(err)
	}
	if answer.Type != stun.BindingError || code.Code != stun.CodeUnknownAttribute ||
		!slices.Equal(unknown, stun.UnknownAttributes{stun.AttrChangeRequest, 0x7abc}) {
		t.Errorf("response %v, %v, %v", answer, code, unknown)
	}
	var refused *BindingError
	if _, err := mappedAddress(answer); !errors.As(err, &refused) || refused.Code != 420 {
		t.Errorf("the client takes it for %v", err)
	}
}

func TestSTUNAnswersRequestsOnly(t *testing.T) {
	for _, mt := range []stun.MessageType{
		stun.BindingSuccess, stun.BindingError,
		stun.NewType(stun.MethodBinding, stun.ClassIndication),
		stun.NewType(stun.MethodAllocate, stun.ClassRequest),
	} {
		if answer, err := respond(buildSTUN(t, stun.TransactionID, mt), stunFrom); answer != nil || err != nil {
			t.Errorf("%v was answered with %v, %v", mt, answer, err)
		}
	}
}

func TestReadSTUN(t *testing.T) {
	good := buildSTUN(t, stun.TransactionID, stun.BindingRequest, stun.NewSoftware("test")).Raw
	largest := buildSTUN(t, stun.TransactionID, stun.BindingRequest, rawAttribute{0x8abc, make([]byte, maxSTUNBody-4)}).Raw
	spoilt := func(at int, b byte) []byte {
		c := slices.Clone(good)
		c[at] = b
		return c
	}
	wrongSum := buildSTUN(t, stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw
	wrongSum[len(wrongSum)-1] ^= 1
	for _, test := range []struct {
		name string
		data []byte
		want error
	}{
		{"good", good, nil},
		{"largest", largest, nil},
		{"too large", binary.BigEndian.AppendUint16([]byte{0, 1}, maxSTUNBody+4), ErrNotSTUN},
		{"not a multiple of four", spoilt(3, good[3]+1), ErrNotSTUN},
		{"cookie", spoilt(4, 0), ErrNotSTUN},
		{"leading bits", spoilt(0, 0x40), ErrNotSTUN},
		{"attribute beyond the end", spoilt(stunHeaderSize+3, 200), ErrNotSTUN},
		{"fingerprint", wrongSum, ErrNotSTUN},
		{"nothing", nil, io.EOF},
		{"cut in the header", good[:10], io.ErrUnexpectedEOF},
		{"cut after the header", good[:stunHeaderSize], io.ErrUnexpectedEOF},
		{"cut in the attributes", good[:len(good)-1], io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := test.data
			if test.want == ErrNotSTUN && len(data) < stunHeaderSize {
				data = append(slices.Clone(data), 0x21, 0x12, 0xa4, 0x42)
				data = append(data, make([]byte, 4000)...)
			}
			for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data))} {
				m := new(stun.Message)
				if err := readSTUN(r, m); !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if len(m.Raw) > stunHeaderSize+maxSTUNBody {
					t.Errorf("%d bytes were read", len(m.Raw))
				}
			}
		})
	}
}

// stunPorts returns connections to both ports that speak STUN.
func stunPorts(t *testing.T, w *world) []net.Conn {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go w.server.ServeProbe(probe)
	conns := []net.Conn{w.connection()}
	raw, err := net.Dial("tcp", probe.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return append(conns, raw)
}

func TestBinding(t *testing.T) {
	w := loopback(t, ServerConfig{})
	for _, raw := range stunPorts(t, w) {
		for range 3 {
			mapped, err := Binding(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			if mapped.String() != raw.LocalAddr().String() {
				t.Errorf("mapped to %v, want %v", mapped, raw.LocalAddr())
			}
		}
	}
}

// However TCP cuts the stream, each request gets its own answer, in order.
func TestSTUNFraming(t *testing.T) {
	w := loopback(t, ServerConfig{})
	for _, raw := range stunPorts(t, w) {
		first := buildSTUN(t, stun.TransactionID, stun.BindingRequest, stun.Fingerprint)
		second := buildSTUN(t, stun.TransactionID, stun.BindingRequest)
		ignored := buildSTUN(t, stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication))
		expect := func(requests ...*stun.Message) {
			t.Helper()
			for _, r := range requests {
				m := new(stun.Message)
				if err := readSTUN(raw, m); err != nil {
					t.Fatal(err)
				}
				if m.TransactionID != r.TransactionID || m.Type != stun.BindingSuccess {
					t.Errorf("response %v to %v", m, r)
				}
			}
		}
		raw.Write(slices.Concat(first.Raw, ignored.Raw, second.Raw))
		expect(first, second)
		for _, b := range slices.Concat(second.Raw, first.Raw) {
			raw.Write([]byte{b})
		}
		expect(second, first)
	}
}

func TestSTUNConnectionIsBounded(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		raw := w.connection()
		for i := range stunRequests {
			if _, err := Binding(t.Context(), raw); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		closedByServer(t, raw)

		raw = w.connection()
		begin := time.Now()
		for {
			if _, err := Binding(t.Context(), raw); err != nil {
				break
			}
			time.Sleep(stunIdle - time.Second)
		}
		if took := time.Since(begin); took < stunLife || took > stunLife+stunIdle {
			t.Errorf("closed after %v", took)
		}
	})
}

func TestBindingErrors(t *testing.T) {
	request := func(raw net.Conn) *stun.Message {
		m := new(stun.Message)
		if err := readSTUN(raw, m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	id := func(m *stun.Message) stun.Setter { return stun.NewTransactionIDSetter(m.TransactionID) }
	for _, test := range []struct {
		name   string
		answer func(raw net.Conn)
		want   error
	}{
		{"closes", func(raw net.Conn) { request(raw) }, io.ErrUnexpectedEOF},
		{"babbles", func(raw net.Conn) { request(raw); raw.Write(bytes.Repeat([]byte("HTTP"), 10)) }, ErrNotSTUN},
		{"says nothing of an address", func(raw net.Conn) {
			raw.Write(buildSTUN(t, id(request(raw)), stun.BindingSuccess).Raw)
		}, ErrNotSTUN},
		{"short IPv6 address", func(raw net.Conn) {
			raw.Write(buildSTUN(t, id(request(raw)), stun.BindingSuccess,
				rawAttribute{stun.AttrXORMappedAddress, []byte{0, 2, 1, 2, 3, 4, 5, 6}}).Raw)
		}, ErrNotSTUN},
		{"echoes", func(raw net.Conn) { raw.Write(request(raw).Raw) }, ErrNotSTUN},
		{"error without a code", func(raw net.Conn) {
			raw.Write(buildSTUN(t, id(request(raw)), stun.BindingError).Raw)
		}, ErrNotSTUN},
		{"answers others", func(raw net.Conn) {
			request(raw)
			for range maxStrayed {
				raw.Write(buildSTUN(t, stun.TransactionID, stun.BindingSuccess).Raw)
			}
		}, ErrNotSTUN},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer theirs.Close()
				test.answer(theirs)
			}()
			if addr, err := Binding(t.Context(), ours); !errors.Is(err, test.want) {
				t.Errorf("%v, %v, want %v", addr, err, test.want)
			}
			ours.Close()
			<-done
		})
	}
}

func TestBindingEndsWithItsContext(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Binding(ctx, ours); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

// Whatever comes, it is read within its bounds, and every answer is one that
// pion can decode.
func FuzzSTUN(f *testing.F) {
	f.Add(buildSTUN(f, stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw)
	f.Add(slices.Concat(
		buildSTUN(f, stun.TransactionID, stun.BindingRequest, rawAttribute{7, []byte{1}}).Raw,
		buildSTUN(f, stun.TransactionID, stun.BindingSuccess).Raw))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		m := new(stun.Message)
		for {
			before := r.Len()
			if err := readSTUN(r, m); err != nil {
				return
			}
			if n := before - r.Len(); n != len(m.Raw) || n > stunHeaderSize+maxSTUNBody {
				t.Fatalf("a message of %d bytes took %d", len(m.Raw), n)
			}
			answer, err := respond(m, stunFrom)
			if err != nil {
				t.Fatal(err)
			}
			if answer == nil {
				continue
			}
			got := new(stun.Message)
			if err := readSTUN(bytes.NewReader(answer.Raw), got); err != nil {
				t.Fatalf("answer % x: %v", answer.Raw, err)
			}
			if addr, err := mappedAddress(got); err == nil && addr != stunFrom {
				t.Fatalf("mapped to %v", addr)
			}
		}
	})
}
