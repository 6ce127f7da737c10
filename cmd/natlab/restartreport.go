package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// restartFinding sums the restarts up.
func restartFinding(results []restarted, g ground) (f finding, err error) {
	f.Table = &table{Head: []string{"ended", "when", "by", "restarts", "its connections to the peer and the server then", "left to the peer",
		"ms to its end, max", "ms to registered", "ms to connected"}}
	f.Text = restartSummary(results)
	var failed []error
	for len(results) > 0 {
		kind := results[0].String()
		same := func(r restarted) bool { return r.String() == kind }
		var group []restarted
		for _, r := range results {
			if same(r) {
				group = append(group, r)
				failed = append(failed, r.judge(g))
			}
		}
		f.Table.Rows = append(f.Table.Rows, restartRow(group))
		results = slices.DeleteFunc(results, same)
	}
	return f, errors.Join(failed...)
}

// restartSummary is for all restarts at once.
func restartSummary(results []restarted) string {
	var registered, connected []time.Duration
	for _, r := range results {
		if r.err == nil {
			registered, connected = append(registered, r.registered), append(connected, r.connected)
		}
	}
	if len(registered) == 0 {
		return ""
	}
	slices.Sort(registered)
	slices.Sort(connected)
	late := slices.IndexFunc(connected, func(d time.Duration) bool { return d > soon })
	if late < 0 {
		late = len(connected)
	}
	return fmt.Sprintf("%d of %d restarts: registered after %s ms, connected again after %s ms (median–max), %d after more than %v",
		len(registered), len(results), medianAndMax(registered), medianAndMax(connected), len(connected)-late, soon)
}

// judge says what is wrong with a restart.
func (r restarted) judge(g ground) error {
	switch {
	case r.err != nil:
		return r.err
	case r.registered > figure(g, sampleRestartLimit, registeredLimit):
		return fmt.Errorf("%v: registered after %v", r, r.registered)
	case r.connected > figure(g, sampleReconnectLimit, reconnectLimit):
		return fmt.Errorf("%v: connected again after %v", r, r.connected)
	}
	return nil
}

// restartRow is the line of restarts of one kind.
func restartRow(group []restarted) []string {
	r := group[0]
	var left []string
	for _, r := range group {
		if !slices.Contains(left, r.left) {
			left = append(left, r.left)
		}
	}
	slices.Sort(left)
	times := func(of func(restarted) time.Duration) (sorted []time.Duration) {
		for _, r := range group {
			sorted = append(sorted, of(r))
		}
		slices.Sort(sorted)
		return sorted
	}
	ending := times(func(r restarted) time.Duration { return r.ending })
	return []string{
		r.victim, r.moment.name, signalName(r.signal), fmt.Sprint(len(group)), fmt.Sprintf("%v, %v", r.moment.path, r.moment.server), strings.Join(left, ", "),
		fmt.Sprintf("%.0f", ms(ending[len(ending)-1])),
		medianAndMax(times(func(r restarted) time.Duration { return r.registered })),
		medianAndMax(times(func(r restarted) time.Duration { return r.connected })),
	}
}

// medianAndMax is how the tables have times in milliseconds.
func medianAndMax(sorted []time.Duration) string {
	return fmt.Sprintf("%.0f–%.0f", ms(percentile(sorted, 0.5)), ms(sorted[len(sorted)-1]))
}
