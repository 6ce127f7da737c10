package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// socksRequest is the request for a target, by name unless it has an address.
func socksRequest(target string) []byte {
	host, portText, _ := net.SplitHostPort(target)
	port, _ := strconv.Atoi(portText)
	request := []byte{5, 1, 0}
	if addr, err := netip.ParseAddr(host); err != nil || addr.Zone() != "" {
		request = append(append(request, 3, byte(len(host))), host...)
	} else if addr.Is4() {
		request = append(append(request, 1), addr.AsSlice()...)
	} else {
		request = append(append(request, 4), addr.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(request, uint16(port))
}

func TestSOCKSRequest(t *testing.T) {
	for _, target := range []string{"example.org:80", "192.0.2.1:65535", "[2001:db8::1]:1", "a_b.local:443"} {
		r := iotest.OneByteReader(bytes.NewReader(append(socksRequest(target), "first data"...)))
		if got, err := readRequest(r); err != nil || got != target {
			t.Errorf("request for %s: %q, %v", target, got, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "first data" {
			t.Errorf("behind the request there is %q", rest)
		}
	}
}

func TestSOCKSRefusesRequests(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		want    SOCKSReply
	}{
		"BIND":                 {"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", socksNoSuchCommand},
		"UDP ASSOCIATE":        {"\x05\x03\x00\x01\x7f\x00\x00\x01\x00\x50", socksNoSuchCommand},
		"unknown address type": {"\x05\x01\x00\x02\x7f\x00\x00\x01\x00\x50", socksNoSuchAddressType},
		"version 4":            {"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", SOCKSFailed},
		"no name":              {"\x05\x01\x00\x03\x00\x00\x50", SOCKSFailed},
		"port 0":               {"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x00", SOCKSFailed},
		"new line in the name": {"\x05\x01\x00\x03\x03a\nb\x00\x50", SOCKSFailed},
		"colon in the name":    {"\x05\x01\x00\x03\x03a:b\x00\x50", SOCKSFailed},
		"long name":            {"\x05\x01\x00\x03\xff" + strings.Repeat("x", 255) + "\x00\x50", SOCKSFailed},
	} {
		got, err := readRequest(strings.NewReader(test.request))
		var refused *socksError
		if !errors.As(err, &refused) || refused.reply != test.want {
			t.Errorf("%s: %q, %v, want reply %d", name, got, err, test.want)
		}
	}
}

func FuzzSOCKSRequest(f *testing.F) {
	f.Add(socksRequest("example.org:80"))
	f.Add(socksRequest("192.0.2.1:80"))
	f.Add(socksRequest("[2001:db8::1]:80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		target, err := readRequest(bytes.NewReader(data))
		if err != nil {
			return
		}
		if again, err := readRequest(bytes.NewReader(socksRequest(target))); err != nil || again != target {
			t.Errorf("%q: asked for again it is %q, %v", target, again, err)
		}
		if canonical, err := ParseTarget(target); err != nil || canonical != target {
			t.Errorf("%q is not a target: %q, %v", target, canonical, err)
		}
	})
}

// proxied runs a proxy for one client, whose connection it returns.
func proxied(t *testing.T, dial func(context.Context, string) (End, error), refusal SOCKSReply) (client *net.TCPConn, result chan error) {
	client, near := pair(t)
	result = make(chan error, 1)
	s := SOCKS{Dial: dial, Reply: func(error) SOCKSReply { return refusal }}
	go func() { result <- s.Serve(t.Context(), near) }()
	return client, result
}

func TestSOCKSConnects(t *testing.T) {
	server, far := pair(t)
	var asked string
	client, result := proxied(t, func(_ context.Context, target string) (End, error) {
		asked = target
		return NewSocket(far), nil
	}, SOCKSFailed)
	client.Write(append([]byte{5, 2, 2, 0}, socksRequest("db.lan:5432")...))
	io.WriteString(client, "request") // before the reply
	client.CloseWrite()
	if got, err := io.ReadAll(server); err != nil || string(got) != "request" || asked != "db.lan:5432" {
		t.Errorf("%s got %q, %v", asked, got, err)
	}
	io.WriteString(server, "answer")
	server.Close()
	want := "\x05\x00" + "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00" + "answer"
	if got, err := io.ReadAll(client); err != nil || string(got) != want {
		t.Errorf("the client reads %q, %v, want %q", got, err, want)
	}
	if err := <-result; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestSOCKSTellsWhyNot(t *testing.T) {
	refused := errors.New("refused")
	client, result := proxied(t, func(context.Context, string) (End, error) { return nil, refused }, SOCKSNotAllowed)
	client.Write(append([]byte{5, 1, 0}, socksRequest("192.0.2.1:80")...))
	want := "\x05\x00" + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"
	if got, err := io.ReadAll(client); err != nil || string(got) != want {
		t.Errorf("the client reads %q, %v, want %q", got, err, want)
	}
	if err := <-result; !errors.Is(err, refused) {
		t.Errorf("Serve: %v", err)
	}
}

func TestSOCKSRefusesGreetings(t *testing.T) {
	for greeting, want := range map[string]string{
		"\x05\x02\x01\x02": "\x05\xff",
		"\x05\x00":         "\x05\xff",
		"\x04\x01":         "",
		"GET / HTTP/1.1":   "",
	} {
		client, result := proxied(t, nil, SOCKSFailed)
		io.WriteString(client, greeting)
		client.CloseWrite()
		got, _ := io.ReadAll(client)
		if err := <-result; string(got) != want || err == nil {
			t.Errorf("greeting %q: the answer is %q, Serve returns %v", greeting, got, err)
		}
	}
}

// Who says nothing is not waited for.
func TestSOCKSHandshakeIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, near := net.Pipe()
		defer client.Close()
		begun := time.Now()
		err := SOCKS{}.Serve(t.Context(), near)
		if took := time.Since(begun); took != socksLimit || err == nil {
			t.Errorf("Serve: %v after %v", err, took)
		}
	})
}
