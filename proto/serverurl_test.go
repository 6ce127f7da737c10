package proto

import (
	"errors"
	"strings"
	"testing"
)

func TestServerURLRoundTrip(t *testing.T) {
	key := sampleID(1).String()
	cases := []struct {
		in, host string
		port     uint16
		hostPort string
	}{
		{"peerd://203.0.113.7", "203.0.113.7", DefaultPort, "203.0.113.7:7878"},
		{"peerd://203.0.113.7:443", "203.0.113.7", 443, "203.0.113.7:443"},
		{"peerd://203.0.113.7:", "203.0.113.7", DefaultPort, "203.0.113.7:7878"},
		{"peerd://Vps.Example_1.org:65535/", "Vps.Example_1.org", 65535, "Vps.Example_1.org:65535"},
		{"PEERD://xn--bcher-kva.example.", "xn--bcher-kva.example.", DefaultPort, "xn--bcher-kva.example.:7878"},
		{"peerd://[2001:db8::1]", "2001:db8::1", DefaultPort, "[2001:db8::1]:7878"},
		{"peerd://[2001:db8::1]:1", "2001:db8::1", 1, "[2001:db8::1]:1"},
		{"peerd://[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1", 1, "[::ffff:192.0.2.1]:1"},
		{"peerd://[fe80::1%25eth0]:1", "fe80::1%eth0", 1, "[fe80::1%eth0]:1"},
	}
	for _, c := range cases {
		want := ServerURL{Host: c.host, Port: c.port, Key: sampleID(1)}
		got, err := ParseServerURL(c.in + "#" + key)
		if err != nil || got != want || got.HostPort() != c.hostPort {
			t.Errorf("%s: %+v, %s, %v", c.in, got, got.HostPort(), err)
			continue
		}
		if again, err := ParseServerURL(got.String()); err != nil || again != want {
			t.Errorf("%s: written %s: %v", c.in, got, err)
		}
	}
}

func TestBadServerURLs(t *testing.T) {
	key := sampleID(1).String()
	for _, s := range []string{
		"", "peerd", "203.0.113.7:7878", "peerd:203.0.113.7", "http://203.0.113.7",
		"peerd://", "peerd://:7878", "peerd:///path", "peerd://user@host", "peerd://host?", "peerd://host?a=b", "peerd://host/path",
		"peerd://host:0", "peerd://host:65536", "peerd://host:http", "peerd://host:-1",
		"peerd://::1", "peerd://2001:db8::1:7878", "peerd://[]", "peerd://[host]", "peerd://[203.0.113.7]", "peerd://[::1", "peerd://[::1]x",
		"peerd://a b", "peerd://a%20b", "peerd://büro.example", "peerd://b%C3%BCro.example", "peerd://a,b", "peerd://a*b",
		"peerd://[fe80::1%25e%20th]", "peerd://[fe80::1%25%5D]", "peerd://" + strings.Repeat("a", 256),
	} {
		if got, err := ParseServerURL(s + "#" + key); !errors.Is(err, ErrServerURL) {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
}

// The error tells what is wrong with a key that was pasted in part.
func TestServerURLKeyErrors(t *testing.T) {
	key := sampleID(1).String()
	for fragment, want := range map[string]error{
		"":                              ErrIDLength,
		"#" + key[1:]:                   ErrIDLength,
		"#" + key[:55]:                  ErrIDLength,
		"#" + key + "#":                 ErrIDLength,
		"#" + strings.ToUpper(key):      ErrIDAlphabet,
		"#" + key[:55] + other(key[55]): ErrIDChecksum,
	} {
		if _, err := ParseServerURL("peerd://host" + fragment); !errors.Is(err, want) || !errors.Is(err, ErrServerURL) {
			t.Errorf("%s: %v, want %v", fragment, err, want)
		}
	}
}

func FuzzParseServerURL(f *testing.F) {
	key := "#" + sampleID(1).String()
	for _, s := range []string{"peerd://host", "peerd://[fe80::1%25eth0]:1/", "peerd://203.0.113.7:443", "peerd://a%C3%BCb"} {
		f.Add(s + key)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseServerURL(s)
		if err != nil {
			if !errors.Is(err, ErrServerURL) {
				t.Errorf("undocumented error %v", err)
			}
			return
		}
		if again, err := ParseServerURL(u.String()); err != nil || again != u {
			t.Errorf("%q became %q, then %+v, %v", s, u, again, err)
		}
	})
}
