package main

import (
	"slices"
)

// editDistance counts the characters to insert, delete, replace or swap with
// their neighbour to make one text of another (Damerau and Levenshtein; no
// character is touched twice).
func editDistance(a, b string) int {
	d := make([][]int, len(a)+1) // d[i][j] is the distance of a[:i] and b[:j]
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+different(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+different(a[i-1], a[i-2]))
			}
		}
	}
	return d[len(a)][len(b)]
}

func different(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}

// nearest returns those of the texts that are nearest to one, if they are near
// enough to have been meant.
func nearest(text string, known []string) (list []string) {
	distance := min(2, len(text)-1)
	for _, k := range known {
		d := editDistance(text, k)
		if d < distance {
			list, distance = nil, d
		}
		if d == distance {
			list = append(list, k)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
