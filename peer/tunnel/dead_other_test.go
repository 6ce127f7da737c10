//go:build !linux

package tunnel

// replacesDead is false: a dead socket cannot be told from a busy one.
const replacesDead = false
