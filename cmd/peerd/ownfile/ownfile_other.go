//go:build !unix

package ownfile

import "io/fs"

func check(string, fs.FileInfo) error { return nil }

func syncDir(string) error { return nil }
