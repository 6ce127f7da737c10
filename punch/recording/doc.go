// Package recording is the file that "peerd connect --record" writes: what both
// sides of each introduction knew, what punching did about it and what came of it,
// so that the case can be looked at, and repeated in a laboratory. docs/json.md
// describes it. It holds no keys, and nothing by which anything is proven: neither
// the introduction's secret nor its tokens.
//
// The file is one JSON object a line, so that what was written remains if the
// program dies.
package recording
