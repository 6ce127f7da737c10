package main

import (
	"slices"
	"testing"
)

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"expsoe", "expose", 1}, {"listen", "lisen", 1}, {"kitten", "sitting", 3}, {"pnig", "ping", 1}, {"pnig", "pair", 2}, {"aa", "aa", 0}, {"ca", "abc", 3}} {
		if got := editDistance(test.a, test.b); got != test.want || editDistance(test.b, test.a) != test.want {
			t.Errorf("%q, %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"ping", "pair", "peers", "run"}
	for text, want := range map[string][]string{"pnig": {"ping"}, "pin": {"ping"}, "pairs": {"pair"}, "rnu": {"run"}, "xyz": nil, "peer": {"peers"}} {
		if got := nearest(text, known); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
