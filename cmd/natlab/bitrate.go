package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// bitRate is in bits per second; as a flag it takes a unit, as tc does: 100Mbit.
type bitRate int64

// rateUnits are the longest first, so that a suffix is found whole.
var rateUnits = []struct {
	suffix string
	bits   int64
}{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// Set implements pflag.Value.
func (r *bitRate) Set(s string) error {
	for _, u := range rateUnits {
		digits, ok := strings.CutSuffix(strings.TrimSuffix(s, "/s"), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64/u.bits {
			break
		}
		*r = bitRate(n * u.bits)
		return nil
	}
	return fmt.Errorf("%q is no rate such as 100Mbit", s)
}

// Type implements pflag.Value.
func (*bitRate) Type() string { return "RATE" }

// String is the rate in the largest unit that it is a multiple of, and empty for
// none.
func (r bitRate) String() string {
	for _, u := range rateUnits {
		if n := int64(r); n != 0 && n%u.bits == 0 {
			return fmt.Sprintf("%d%s", n/u.bits, u.suffix)
		}
	}
	return ""
}
