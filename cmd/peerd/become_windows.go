package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// become runs a program in place of this one, which ends with its exit code.
// The console brings its signals to both.
func become(program string, argv, env []string) error {
	cmd := exec.Command(program, argv[1:]...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		return fmt.Errorf("cannot run %s: %w", program, err)
	}
	return nil
}

// quoteForShell quotes a word for cmd.exe; a path has no quotes on Windows.
func quoteForShell(word string) string { return `"` + word + `"` }
