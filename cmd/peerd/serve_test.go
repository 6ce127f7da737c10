package main

import (
	"net/netip"
	"testing"
)

func TestGuessPublic(t *testing.T) {
	for _, test := range []struct {
		addrs []string
		want  string
	}{
		{nil, "127.0.0.1"},
		{[]string{"10.0.0.2"}, "10.0.0.2"},
		{[]string{"fd00::1", "10.0.0.2"}, "10.0.0.2"},
		{[]string{"10.0.0.2", "2001:db8::1"}, "2001:db8::1"},
		{[]string{"100.64.0.1", "2001:db8::1", "198.51.100.9"}, "198.51.100.9"},
		{[]string{"198.51.100.9", "203.0.113.7"}, "198.51.100.9"},
	} {
		var addrs []netip.Addr
		for _, a := range test.addrs {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if got := guessPublic(addrs); got.String() != test.want {
			t.Errorf("of %v: %v, want %v", test.addrs, got, test.want)
		}
	}
}

func TestServeOptions(t *testing.T) {
	good := serveOptions{listen: ":7878", probes: []string{"", ":7879"}, publicAddr: "2001:db8::1"}
	if err := good.check(); err != nil || len(good.probes) != 1 {
		t.Errorf("%+v: %v", good, err)
	}
	for _, bad := range []serveOptions{
		{},
		{listen: "7878"},
		{listen: ":1", probes: []string{"7879"}},
		{listen: ":1", probes: make17()},
		{listen: ":1", publicAddr: "host:7878"},
		{listen: ":1", publicAddr: "[::1]"},
		{listen: ":1", publicAddr: "a b"},
	} {
		if err := bad.check(); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

// make17 returns one probe more than there may be.
func make17() (addrs []string) {
	for range 17 {
		addrs = append(addrs, ":0")
	}
	return addrs
}
