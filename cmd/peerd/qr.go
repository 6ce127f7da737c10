package main

import (
	"strings"

	"rsc.io/qr"
)

// quietZone is how many light modules surround a QR code; two are enough for the
// readers of telephones.
const quietZone = 2

// drawQR returns a QR code for a terminal, two rows of modules in a line of text,
// or "" if it has no place there. The text is taken in upper case, which makes
// the code smaller.
func drawQR(text string, columns int) string {
	code, err := qr.Encode(strings.ToUpper(text), qr.L)
	if err != nil || code.Size+2*quietZone > columns {
		return ""
	}
	light := func(x, y int) bool { return !code.Black(x, y) } // also outside
	var b strings.Builder
	for y := -quietZone; y < code.Size+quietZone; y += 2 {
		for x := -quietZone; x < code.Size+quietZone; x++ {
			b.WriteString(block(light(x, y), light(x, y+1)))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// block returns the character with an upper and a lower half; terminals are
// mostly dark, so light modules are what is drawn.
func block(upper, lower bool) string {
	switch {
	case upper && lower:
		return "█"
	case upper:
		return "▀"
	case lower:
		return "▄"
	}
	return " "
}
