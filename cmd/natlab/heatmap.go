package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// The measures of a heat map, in pixels.
const (
	cellWidth  = 46
	cellHeight = 30
	labelWidth = 124 // of a row's name, and the height of a column's
	titleSpace = 60
	legendRow  = 24
	mapMargin  = 14
	overhang   = 70 // of the last column's name
)

// shade is a colour of the map: the fill, and that of the text on it. The fills
// are of one hue, from pale to dark, so that they are told apart in print and by
// whoever sees no colours; every cell says its figure besides.
type shade struct {
	least      float64 // share of runs that connect from which on it is used
	fill, text string
	name       string
}

var shades = []shade{
	{1, "#08519c", "#ffffff", "every run connects"},
	{0.9, "#3182bd", "#ffffff", "90 % or more"},
	{0.5, "#9ecae1", "#08213c", "50 % or more"},
	{0.000001, "#deebf7", "#08213c", "some"},
	{0, "#f7f4ef", "#5a5348", "none"},
}

// hopelessShade is that of a pair that is not expected to connect, and does not.
var hopelessShade = shade{fill: "#bdbdbd", text: "#252525", name: "hopeless, and none connects"}

func shadeOf(r *pairResult) shade {
	e, _ := expectations.of(r.A, r.B)
	if !e.Class.connects() && r.direct(0) == 0 {
		return hopelessShade
	}
	share := float64(r.direct(0)) / float64(max(1, len(r.Runs)))
	for _, s := range shades {
		if share >= s.least {
			return s
		}
	}
	return shades[len(shades)-1]
}

// style holds for light and dark surroundings: the map brings its own ground.
const heatMapStyle = `text{font:12px sans-serif}.ground{fill:#ffffff}.ink{fill:#1c1c1c}.small{font-size:9px}.head{font-size:15px;font-weight:bold}` +
	`.miss{fill:none;stroke:#d7301f;stroke-width:2.5}.edge{fill:none;stroke:#8c8c8c;stroke-width:.5}` +
	`@media (prefers-color-scheme:dark){.ground{fill:#14181d}.ink{fill:#e6e6e6}.miss{stroke:#ff8a5c}}`

// heatMap draws the pairs of one condition as SVG: rows are the initiator's NAT,
// columns the responder's.
func heatMap(group []pairResult) []byte {
	names := profilesIn(group)
	width := max(2*mapMargin+labelWidth+len(names)*cellWidth+overhang, 700)
	top := mapMargin + titleSpace + labelWidth
	bottom := top + len(names)*cellHeight
	height := bottom + mapMargin + (len(shades)+4)/2*legendRow + mapMargin
	var b bytes.Buffer
	title := fmt.Sprintf("Direct connections through pairs of NATs, %v of round trip", conditionOf(group[0]))
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n", width, height, width, height, escape(title))
	fmt.Fprintf(&b, "<style>%s</style>\n<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", heatMapStyle, width, height)
	fmt.Fprintf(&b, `<text class="ink head" x="%d" y="%d">%s</text>`+"\n", mapMargin, mapMargin+14, escape(title))
	for i, line := range []string{
		"Rows are the initiator's NAT, columns the responder's.",
		fmt.Sprintf("The per cent of the runs that connect; below, by how many ms the median exceeds the floor of %.0f ms.", ms(cell{RTT: group[0].rtt()}.floor())),
	} {
		fmt.Fprintf(&b, `<text class="ink" x="%d" y="%d">%s</text>`+"\n", mapMargin, mapMargin+34+16*i, escape(line))
	}
	for i, name := range names {
		x, y := mapMargin+labelWidth+i*cellWidth+cellWidth/2, top-6
		fmt.Fprintf(&b, `<text class="ink" transform="translate(%d %d) rotate(-60)">%s</text>`+"\n", x, y, escape(name))
		fmt.Fprintf(&b, `<text class="ink" text-anchor="end" x="%d" y="%d">%s</text>`+"\n", mapMargin+labelWidth-6, top+i*cellHeight+cellHeight/2+4, escape(name))
	}
	for i, a := range names {
		for k, c := range names {
			if e, _ := expectations.of(a, c); e.Class != classNone {
				drawPair(&b, mapMargin+labelWidth+k*cellWidth, top+i*cellHeight, find(group, a, c))
			}
		}
	}
	drawLegend(&b, mapMargin, bottom+mapMargin)
	fmt.Fprintf(&b, "</svg>\n")
	return b.Bytes()
}

// drawPair draws a cell, with all of its figures for who points at it.
func drawPair(b *bytes.Buffer, x, y int, r *pairResult) {
	if r == nil {
		fmt.Fprintf(b, `<rect class="edge" x="%d" y="%d" width="%d" height="%d"/>`+"\n", x, y, cellWidth, cellHeight)
		return
	}
	s := shadeOf(r)
	fmt.Fprintf(b, `<g><title>%s × %s: %s</title><rect x="%d" y="%d" width="%d" height="%d" fill="%s"/><rect class="edge" x="%d" y="%d" width="%d" height="%d"/>`,
		escape(r.A), escape(r.B), escape(r.String()), x, y, cellWidth, cellHeight, s.fill, x, y, cellWidth, cellHeight)
	middle, line := x+cellWidth/2, y+cellHeight/2+4
	if r.direct(0) > 0 {
		line -= 5
		fmt.Fprintf(b, `<text class="small" text-anchor="middle" fill="%s" x="%d" y="%d">%+.0f</text>`, s.text, middle, line+12, r.firstByte(0.5)-r.floor())
	}
	fmt.Fprintf(b, `<text text-anchor="middle" fill="%s" x="%d" y="%d">%d</text>`, s.text, middle, line, percentOf(r))
	if len(r.misses()) > 0 {
		fmt.Fprintf(b, `<rect class="miss" x="%d" y="%d" width="%d" height="%d"/>`, x+2, y+2, cellWidth-4, cellHeight-4)
	}
	fmt.Fprintf(b, "</g>\n")
}

// percentOf rounds down, so that 100 is all.
func percentOf(r *pairResult) int { return 100 * r.direct(0) / max(1, len(r.Runs)) }

// drawLegend explains the shades and the frames, in two columns.
func drawLegend(b *bytes.Buffer, x, y int) {
	n := 0
	place := func() (px, py int) {
		px, py = x+n%2*280, y+n/2*legendRow
		n++
		return px, py
	}
	for _, s := range append(append([]shade(nil), shades...), hopelessShade) {
		px, py := place()
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="28" height="16" fill="%s"/><rect class="edge" x="%d" y="%d" width="28" height="16"/><text class="ink" x="%d" y="%d">%s</text>`+"\n",
			px, py, s.fill, px, py, px+36, py+12, escape(s.name))
	}
	px, py := place()
	fmt.Fprintf(b, `<rect class="miss" x="%d" y="%d" width="26" height="14"/><text class="ink" x="%d" y="%d">falls short of what is expected</text>`+"\n", px+1, py+1, px+36, py+12)
	px, py = place()
	fmt.Fprintf(b, `<rect class="edge" x="%d" y="%d" width="28" height="16"/><text class="ink" x="%d" y="%d">not measured</text>`+"\n", px, py, px+36, py+12)
}

func escape(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text))
	return b.String()
}
