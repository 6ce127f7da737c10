//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || windows)

package ownfile

import "os"

// tryLock locks nothing: Solaris and AIX have no flock, and their record locks end
// with any descriptor of the file. Of two programs that edit at the same moment
// the last one wins there.
func tryLock(*os.File) (locked bool, err error) { return true, nil }
