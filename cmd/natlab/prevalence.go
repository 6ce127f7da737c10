package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// A figure of how common something is. NAT.md has most of them, with the tags
// [P], published and re-read, and [R], recalled from the source that is named and
// not verified; [A] is an assumption, where NAT.md has nothing.
type prevalence struct {
	Name      string
	Value     float64 // 0 to 1
	Low, High float64 // the bounds that are stated for it; equal to Value if none are
	Source    string
}

// fixed is a figure without stated bounds.
func fixed(name string, value float64, source string) prevalence {
	return prevalence{name, value, value, value, source}
}

// The figures, by their places in prevalences.
const (
	atHome = iota
	atCarrier
	homeSymmetric
	homeEIF
	homeADF
	homeRefusing
	carrierSymmetric
	carrierArbitrary
	cellularSymmetric
	cellularSequential
	figures
)

// prevalences are the figures of the estimate. A host is at home, behind a
// carrier's NAT without a cellular network, or in a cellular network.
var prevalences = [figures]prevalence{
	atHome: {"hosts behind a home router alone", 0.30, 0, 1,
		"[A] NAT.md has no figure; this and the next one are such that 80 % of all hosts have endpoint-independent mapping, its p for the 64 % of plain punching"},
	atCarrier:        {"hosts behind a carrier's NAT, not cellular; the rest is cellular", 0.30, 0, 1, "[A] as above, as many as at home"},
	homeSymmetric:    {"home routers with a mapping for each destination", 0.02, 0, 0.23, "[R] < 2 %, Richter et al. 2016; 23 % in 2005, Guha & Francis"},
	homeEIF:          fixed("home routers that filter endpoint-independently", 0.058, "[R] Guha & Francis 2005"),
	homeADF:          fixed("home routers that filter address-dependently", 0.123, "[R] Guha & Francis 2005"),
	homeRefusing:     {"home routers that refuse a SYN which crosses their own", 0.136, 0, 0.136, "[R] 13.6 % in 2005, Guha & Francis; since RFC 5382 none should"},
	carrierSymmetric: fixed("carriers' NATs, not cellular, with a mapping for each destination", 0.11, "[R] Richter et al. 2016"),
	carrierArbitrary: fixed("carriers' NATs with arbitrary pooling", 0.21, "[R] Richter et al. 2016"),
	cellularSymmetric: fixed("cellular networks with a mapping for each destination", 0.40,
		"[R] Richter et al. 2016"),
	cellularSequential: {"of these, with ports in sequence; the others take them at random from a block", 0.5, 0, 1, "[A] NAT.md has no figure"},
}

// values are the figures' values in one case.
type values [figures]float64

func nominal() (v values) {
	for i, p := range prevalences {
		v[i] = p.Value
	}
	return v
}

// plainHomes are the profiles that share, in equal parts, what NAT.md has no
// figures for: how a home router with the ordinary filter answers.
var plainHomes = []string{"linux-drop", "openwrt", "linux-open", "linux-icmp", "static-port", "mikrotik"}

// weights returns the share of hosts behind each profile; they add up to 1.
func (v values) weights() map[string]float64 {
	home, carrier := v[atHome], v[atCarrier]
	cellular := 1 - home - carrier
	plain := home * (1 - v[homeSymmetric])
	w := map[string]float64{
		"sym-seq":       home * v[homeSymmetric],
		"fullcone":      plain * v[homeEIF],
		"rfc5382":       plain * v[homeADF],
		"strict-no-so":  plain * v[homeRefusing],
		"cgn-sym-block": carrier*v[carrierSymmetric] + cellular*v[cellularSymmetric]*(1-v[cellularSequential]),
		"cgn-arbitrary": carrier * v[carrierArbitrary],
		"double":        carrier * (1 - v[carrierSymmetric] - v[carrierArbitrary]) / 2,
		"cellular-seq":  cellular * v[cellularSymmetric] * v[cellularSequential],
		"cgn-eim":       carrier*(1-v[carrierSymmetric]-v[carrierArbitrary])/2 + cellular*(1-v[cellularSymmetric]),
	}
	for _, name := range plainHomes {
		w[name] = plain * (1 - v[homeEIF] - v[homeADF] - v[homeRefusing]) / float64(len(plainHomes))
	}
	return w
}

// fieldEstimate is the expected share of direct connections between two hosts
// that are picked at random.
type fieldEstimate struct {
	Success   float64        `json:"success"`            // of the measured part
	Interval  [2]float64     `json:"interval_95"`        // binomial, of the measured part
	Covered   float64        `json:"covered"`            // share of the weight that was measured
	Range     [2]float64     `json:"range"`              // of Success, over the bounds of the uncertain weights
	AnyResult [2]float64     `json:"range_any_result"`   // what was not measured counted as failed, and as connected
	Profiles  []fieldProfile `json:"profiles,omitempty"` // with a weight, the heaviest first
}

// fieldProfile is what a host behind a NAT can expect of all others.
type fieldProfile struct {
	Name    string  `json:"name"`
	Weight  float64 `json:"weight"`
	Success float64 `json:"success"`
	Covered float64 `json:"covered"` // share of the others' weight that was measured
}

// rate counts the runs of a pair, under all conditions.
type rate struct{ direct, runs int }

// field is what was measured of the profiles that have a weight.
type field struct {
	names []string // in order: sums of floats depend on it
	rates [][]rate // of the pairs, by the names' places
}

func fieldOf(results []pairResult) (f field) {
	all := make(map[[2]string]rate)
	for _, r := range results {
		pair := [2]string{r.A, r.B}
		all[pair] = rate{all[pair].direct + r.direct(0), all[pair].runs + len(r.Runs)}
	}
	f.names = slices.Sorted(maps.Keys(nominal().weights()))
	for _, a := range f.names {
		var row []rate
		for _, b := range f.names {
			row = append(row, all[[2]string{a, b}])
		}
		f.rates = append(f.rates, row)
	}
	return f
}

// sum is a weighted sum over pairs.
type sum struct {
	weight, success float64
	spread          float64 // of the squared weights over the runs
}

func (s *sum) add(weight float64, r rate) {
	if r.runs == 0 || weight == 0 {
		return
	}
	s.weight += weight
	s.success += weight * float64(r.direct) / float64(r.runs)
	s.spread += weight * weight / float64(r.runs)
}

func (s sum) mean() float64 {
	if s.weight == 0 {
		return math.NaN()
	}
	return s.success / s.weight
}

// sum adds up all pairs with the weights of a case.
func (f field) sum(v values) (s sum) {
	w := v.weights()
	for i, a := range f.names {
		for k, b := range f.names {
			s.add(w[a]*w[b], f.rates[i][k])
		}
	}
	return s
}

// estimate combines results with the weights.
func estimate(results []pairResult) fieldEstimate {
	measured := fieldOf(results)
	s := measured.sum(nominal())
	f := fieldEstimate{Covered: s.weight, Profiles: measured.profiles()}
	if s.weight == 0 {
		f.Interval, f.Range, f.AnyResult = [2]float64{0, 1}, [2]float64{0, 1}, [2]float64{0, 1}
		return f
	}
	f.Success = s.mean()
	f.Interval = wilson(f.Success, s.weight*s.weight/s.spread)
	f.AnyResult = [2]float64{s.success, s.success + 1 - s.weight}
	f.Range = [2]float64{1, 0}
	cases(func(v values) {
		if m := measured.sum(v).mean(); !math.IsNaN(m) {
			f.Range = [2]float64{min(f.Range[0], m), max(f.Range[1], m)}
		}
	})
	return f
}

// profiles sums up what each profile can expect.
func (f field) profiles() (list []fieldProfile) {
	w := nominal().weights()
	for i, a := range f.names {
		var s sum
		for k, b := range f.names {
			s.add(w[b], f.rates[i][k])
		}
		p := fieldProfile{Name: a, Weight: w[a], Covered: s.weight}
		if s.weight > 0 {
			p.Success = s.mean()
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b fieldProfile) int { return cmp.Compare(b.Weight, a.Weight) })
	return list
}

// gridPoints is how many values of an uncertain weight are tried between its
// bounds. The success is of the second degree in each, and not always extreme
// where they are.
const gridPoints = 5

// cases calls f with every combination of the uncertain weights on a grid.
func cases(f func(values)) {
	v := nominal()
	var vary func(i int)
	vary = func(i int) {
		if i == figures {
			if v[atHome]+v[atCarrier] <= 1 {
				f(v)
			}
			return
		}
		p := prevalences[i]
		if p.Low == p.High {
			vary(i + 1)
			return
		}
		for n := range gridPoints {
			v[i] = p.Low + (p.High-p.Low)*float64(n)/(gridPoints-1)
			vary(i + 1)
		}
		v[i] = p.Value
	}
	vary(0)
}

// wilson is the 95 % score interval of a share that n runs have shown (Wilson
// 1927). For a weighted share, n is the number of unweighted runs that would be
// as uncertain (Kish 1965).
func wilson(p, n float64) [2]float64 {
	const z = 1.959964
	middle := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return [2]float64{max(0, middle-half), min(1, middle+half)}
}

// text says the estimate in words.
func (f fieldEstimate) text() string {
	var b bytes.Buffer
	percent := func(x float64) string { return fmt.Sprintf("%.1f", 100*x) }
	between := func(r [2]float64) string { return percent(r[0]) + " to " + percent(r[1]) + " %" }
	if f.Covered == 0 {
		return "estimated direct connections in the field: none of the profiles that have a weight was measured\n"
	}
	fmt.Fprintf(&b, "estimated direct connections in the field: %s %% (binomial, 95 %%: %s), of the %s %% of the weight that was measured\n",
		percent(f.Success), between(f.Interval), percent(f.Covered))
	fmt.Fprintf(&b, "with the uncertain weights anywhere between their bounds: %s\n", between(f.Range))
	fmt.Fprintf(&b, "with what was not measured as failed, and as connected: %s\n", between(f.AnyResult))
	return b.String()
}
