package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// condition is what a matrix is measured at.
type condition struct {
	RTT  time.Duration
	Loss float64
}

func conditionOf(r pairResult) condition { return condition{r.rtt(), r.Loss} }

func (c condition) String() string {
	if c.Loss == 0 {
		return c.RTT.String()
	}
	return fmt.Sprintf("%v, %v %% loss", c.RTT, 100*c.Loss)
}

// slug names the condition in a file's name.
func (c condition) slug() string {
	if c.Loss == 0 {
		return c.RTT.String()
	}
	return fmt.Sprintf("%v-loss-%v", c.RTT, 100*c.Loss)
}

// conditions groups results by what they were measured at: fewer losses first,
// then shorter round trips.
func conditions(results []pairResult) (groups [][]pairResult) {
	sorted := slices.Clone(results)
	slices.SortStableFunc(sorted, func(a, b pairResult) int {
		return cmp.Or(cmp.Compare(a.Loss, b.Loss), cmp.Compare(a.RTT, b.RTT))
	})
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && conditionOf(sorted[n]) == conditionOf(sorted[0]) {
			n++
		}
		groups = append(groups, sorted[:n])
		sorted = sorted[n:]
	}
	return groups
}
