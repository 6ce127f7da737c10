package main

import (
	"os"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

func TestMain(m *testing.M) {
	if os.Getenv(agentEnv) != "" {
		os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	natlab.Main(m)
}
