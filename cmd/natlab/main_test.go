package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

func TestMain(m *testing.M) {
	if os.Getenv(agentEnv) != "" {
		if err := runAgent(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	natlab.Main(m)
}
