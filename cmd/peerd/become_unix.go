//go:build unix

package main

import (
	"fmt"
	"strings"
	"syscall"
)

// become replaces this process by a program.
func become(program string, argv, env []string) error {
	return fmt.Errorf("cannot run %s: %w", program, syscall.Exec(program, argv, env))
}

// quoteForShell quotes a word for the user's shell.
func quoteForShell(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
