package peerd_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayNameSystems says which files and directories may name an operating system
// although their names do not end in one, with the reason. What a system does
// belongs to punch/reuse, or to a file with that system's suffix; everything
// else asks for what a system can do.
var mayNameSystems = map[string]string{
	"punch/reuse":     "what each system does with one port in several sockets",
	"punch/natlab":    "hosts and NATs are made of Linux's namespaces, and profiles are called what they imitate",
	"punch/sim":       "models Linux's TCP and netfilter, and has natlab's profiles",
	"cmd/natlab":      "runs the lab, and measures in it what a kernel and its programs do",
	"layout_test.go":  "lists packages, and one of those under punch/reuse has a system's name",
	"cmd/peerd/wine":  "runs the Windows program",
	"systems_test.go": "this rule",
}

// suffixes are the parts of a file's name that give it to a system, to a family
// of systems or to those which the other files leave.
var suffixes = strings.Fields(`linux android darwin ios freebsd openbsd netbsd dragonfly solaris illumos aix windows
	bsd unix other`)

// scriptDir is where a program's scripts are; they follow the rule as well.
const scriptDir = "testdata/script"

// aSystem matches the names of operating systems. Windows is also a word, and a
// window a thing of TCP: there the capital, or the quotes and the import path of
// a program text tell which is meant.
var aSystem = regexp.MustCompile(`(?i:linux|android|darwin|macos|freebsd|openbsd|netbsd|dragonfly|solaris|illumos|winsock|openwrt|debian|ubuntu)` +
	`|\b(?i:ios|aix|bsds?|osx|os x|wine|plan9)\b` +
	`|\bWindows\b|"windows"|\bsys/windows\b|\bwindows\.[A-Z]|\[!?windows\]|^//go:build\b.*\bwindows\b`)

// notASystem matches what looks like one: a document of the design.
var notASystem = regexp.MustCompile(`LINUX-TCP\.md`)

// ofSystem reports whether a file's name has a system's suffix.
func ofSystem(path string) bool {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	parts := strings.Split(name, "_")
	return slices.ContainsFunc(parts[1:], func(part string) bool { return slices.Contains(suffixes, part) })
}

// systemsNamed returns the lines that name an operating system, by number.
func systemsNamed(text string) map[int]string {
	named := make(map[int]string)
	for i, line := range strings.Split(text, "\n") {
		if aSystem.MatchString(notASystem.ReplaceAllString(line, "")) {
			named[i+1] = strings.TrimSpace(line)
		}
	}
	return named
}

func TestSystemsAreNamedInTheirOwnFiles(t *testing.T) {
	used := make(map[string]bool)
	files := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(path, ".") && path != ".":
			return fs.SkipDir
		case entry.IsDir() || ofSystem(path) || !follows(filepath.ToSlash(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		named := systemsNamed(string(text))
		if place := exempt(filepath.ToSlash(path)); place != "" {
			used[place] = used[place] || len(named) > 0
			return nil
		}
		for line, what := range named {
			t.Errorf("%s:%d names an operating system; that belongs to punch/reuse or a file with the system's suffix: %s", path, line, what)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
	for place := range mayNameSystems {
		if !used[place] {
			t.Errorf("%s names no operating system, although the tree's rules let it", place)
		}
	}
}

// follows reports whether the rule is for a file: Go, and the scripts of tests.
func follows(path string) bool {
	return strings.HasSuffix(path, ".go") || strings.Contains(path, scriptDir+"/")
}

// exempt returns the entry of mayNameSystems that a file is under.
func exempt(path string) string {
	for place := range mayNameSystems {
		if path == place || strings.HasPrefix(path, place+"/") {
			return place
		}
	}
	return ""
}

func TestSystemsNamed(t *testing.T) {
	for line, want := range map[string]bool{
		"// On Linux, this is so":           true,
		"// BSD's and others' kernels":      true,
		"var errLinux = 1":                  true,
		`if runtime.GOOS == "windows" {`:    true,
		`	"golang.org/x/sys/windows"`:       true,
		"//go:build !windows":               true,
		"//go:build unix && !aix":           true,
		"// Windows has no such modes":      true,
		"[!windows] exec true":              true,
		"// TCP's windows grow":             false,
		"func newWindows(w *windows) {}":    false,
		"w.windows.enter(id)":               false,
		"// LINUX-TCP.md, 8: the kernel":    false,
		"//go:build unix":                   false,
		"radios, prefixaix, bsdiff and OSS": false,
	} {
		if got := len(systemsNamed(line)) == 1; got != want {
			t.Errorf("%q: names a system: %v, want %v", line, got, want)
		}
	}
	for path, want := range map[string]bool{
		"a/b_linux.go": true, "a/b_linux_test.go": true, "b_unix.go": true, "x_linux_amd64.go": true,
		"linux.go": false, "a_linux/b.go": false, "b_linuxes.go": false, "x.go": false,
	} {
		if ofSystem(path) != want {
			t.Errorf("%s has a system's suffix: %v, want %v", path, !want, want)
		}
	}
}
