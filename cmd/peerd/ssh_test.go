package main

import (
	"slices"
	"strings"
	"testing"
)

func TestSSHDestination(t *testing.T) {
	for text, want := range map[string]string{
		"home":                                    "home",
		"me@home uptime -s":                       "me@home",
		"-l me home cmd":                          "home",
		"-lme home":                               "home",
		"-p 2222 -vvl me home":                    "home",
		"-vp2222 home":                            "home",
		"-4AaCfGgKkMNnqsTtVvXxYy home":            "home",
		"-o StrictHostKeyChecking=no home":        "home",
		"-oBatchMode=yes -i key home":             "home",
		"-L 8080:localhost:80 -D 1080 home":       "home",
		"-J jump -F file -E log -W x:1 home -p 1": "home",
		"-- home ls":                              "home",
		"-x -oPermitLocalCommand=no -oClearAllForwardings=yes -l me -- home scp -t": "home",
		"-o SendEnv=GIT_PROTOCOL me@home git-upload-pack":                           "me@home",
		"-tt home": "home",
		"-V":       "",
		"-Q key":   "",
		"-l":       "",
		"--":       "",
		"-O exit":  "",
	} {
		args := strings.Fields(text)
		got := ""
		if i := sshDestination(args); i < len(args) {
			got = args[i]
		}
		if got != want {
			t.Errorf("ssh %s: the destination is %q, want %q", text, got, want)
		}
	}
}

func TestSSHHost(t *testing.T) {
	for destination, want := range map[string]string{
		"home": "home", "me@home": "home", "me@work@home": "home",
		"ssh://home": "home", "ssh://me@home:2222": "home", "ssh://me@home/": "home",
	} {
		if got := sshHost(destination); got != want {
			t.Errorf("the host in %s is %q, want %q", destination, got, want)
		}
	}
}

func TestSeparateSSH(t *testing.T) {
	root := new(program).rootCommand()
	for text, want := range map[string]string{
		"ssh home":                            "ssh -- home",
		"ssh -v -l me home --server x":        "ssh -- -v -l me home --server x",
		"--server u ssh home rsync --server":  "--server u ssh -- home rsync --server",
		"--server=u -v ssh home":              "--server=u -v ssh -- home",
		"ssh --server u --json=1 home":        "--server u --json=1 ssh -- home",
		"ssh --quiet home":                    "--quiet ssh -- home",
		"ssh -- home":                         "ssh -- -- home",
		"ssh --help":                          "ssh --help",
		"ssh":                                 "ssh --",
		"nc ssh 22":                           "nc ssh 22",
		"--state-dir ssh nc home 22":          "--state-dir ssh nc home 22",
		"help ssh":                            "help ssh",
		"--server":                            "--server",
		"--verbose ssh -o A=b home -- --json": "--verbose ssh -- -o A=b home -- --json",
	} {
		got := separateSSH(root.PersistentFlags(), strings.Fields(text))
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("peerd %s: %q, want %q", text, got, want)
		}
	}
}
