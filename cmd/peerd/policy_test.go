package main

import (
	"maps"
	"testing"
)

func TestParseExposed(t *testing.T) {
	got, err := parseExposed([]string{"22", "web=192.168.1.10:80", "db=5432", "10.0.0.1:53", "[::1]:80", "8080=80", "unix:/run/x.sock", "docker=unix:/run/docker.sock", "/run/y.sock", "z=/run/z.sock"}, "--expose")
	want := map[string]string{
		"22": "127.0.0.1:22", "web": "192.168.1.10:80", "db": "127.0.0.1:5432",
		"10.0.0.1:53": "10.0.0.1:53", "[::1]:80": "[::1]:80", "8080": "127.0.0.1:80",
		"unix:/run/y.sock": "unix:/run/y.sock", "z": "unix:/run/z.sock",
		"unix:/run/x.sock": "unix:/run/x.sock", "docker": "unix:/run/docker.sock",
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "web", "0", "65536", "-1", "=80", "web=", "web=:80", "web=host", "web=host:http", "a b=80", "web=1=2", "::1", "unix:x", "x=unix:"} {
		if got, err := parseExposed([]string{bad}, "--expose"); err == nil {
			t.Errorf("--expose %q: %v, want an error", bad, got)
		}
	}
}
