package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"rsc.io/qr"

	"github.com/peerd/peerd/proto"
)

// What is drawn is the code, module for module, with light all around.
func TestDrawQR(t *testing.T) {
	text := proto.Ticket{Server: proto.ServerURL{Host: "203.0.113.7", Port: 7878, Key: proto.ID{1}}, Creator: proto.ID{2}}.String()
	code, err := qr.Encode(strings.ToUpper(text), qr.L)
	if err != nil {
		t.Fatal(err)
	}
	size := code.Size + 2*quietZone
	drawn := strings.Split(strings.TrimSuffix(drawQR(text, 80), "\n"), "\n")
	if len(drawn) != (size+1)/2 {
		t.Fatalf("%d lines for %d modules", len(drawn), size)
	}
	for y := range size {
		row := []rune(drawn[y/2])
		if len(row) != size {
			t.Fatalf("a line of %d columns, want %d", len(row), size)
		}
		for x, r := range row {
			light := r == '█' || r == []rune{'▀', '▄'}[y%2]
			inside := min(x, y) >= quietZone && max(x, y) < code.Size+quietZone
			if want := !inside || !code.Black(x-quietZone, y-quietZone); light != want {
				t.Fatalf("module %d, %d: light %v, want %v", x, y, light, want)
			}
		}
	}
	if drawQR(text, size-1) != "" || drawQR(strings.Repeat("x", 9999), 9999) != "" {
		t.Error("something is drawn where there is no place")
	}
	if n := utf8.RuneCountInString(drawn[0]); n > 60 {
		t.Errorf("a ticket takes %d columns", n)
	}
}
