package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is a number of bytes; as a flag it takes a unit, as in 16MiB.
type byteSize int64

// units are the longest first, so that a suffix is found whole.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1},
}

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64/u.bytes {
			break
		}
		*b = byteSize(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size such as 16MiB", s)
}

// Type implements pflag.Value.
func (*byteSize) Type() string { return "SIZE" }

// String is the size in the largest binary unit that it is a multiple of.
func (b byteSize) String() string {
	for _, u := range []int{2, 1, 0} {
		if n := int64(b); n != 0 && n%units[u].bytes == 0 {
			return fmt.Sprintf("%d%s", n/units[u].bytes, units[u].suffix)
		}
	}
	return fmt.Sprintf("%dB", int64(b))
}
