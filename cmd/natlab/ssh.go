package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sshClaims are about OpenSSH and what runs over it.
func sshClaims() []claim {
	return []claim{
		{"ssh over nc", "`ssh -o ProxyCommand='peerd nc ID 22'` logs in, passes standard input and output on byte by byte, and exits with the command's code",
			[]string{"sshd", "ssh"}, sshLogin},
		{"scp over nc", "scp copies both ways over `peerd nc`, and what arrives has the right SHA-256",
			[]string{"sshd", "scp"}, scpBothWays},
		{"rsync over nc", "rsync copies both ways over `peerd nc`, and what arrives has the right SHA-256",
			[]string{"sshd", "rsync"}, rsyncBothWays},
		{"peerd ssh", "`peerd ssh ID` logs in, passes standard input and output on byte by byte, and exits with the command's code",
			[]string{"sshd", "ssh"}, peerdSSHLogin},
		{"scp over peerd ssh", "scp -S, with a script that runs `peerd ssh`, copies both ways, and what arrives has the right SHA-256",
			[]string{"sshd", "scp"}, scpOverPeerdSSH},
		{"rsync over peerd ssh", "rsync -e 'peerd ssh' copies both ways, and what arrives has the right SHA-256",
			[]string{"sshd", "rsync"}, rsyncOverPeerdSSH},
	}
}

// sshWorld is a world with sshd on B, which is exposed as 22. To ssh on A, B is
// called home.
type sshWorld struct {
	*world
	*sshd
}

func newSSHWorld(ctx context.Context, g ground, c cell) (*sshWorld, error) {
	w, err := newWorld(ctx, g.peerd, g.dir, c, "22="+sshdAddr)
	if err != nil {
		return nil, err
	}
	s, err := startSSHD(ctx, w.lab.B, g.dir, "home", w.peer)
	if err != nil {
		w.lab.Close()
		return nil, err
	}
	return &sshWorld{w, s}, nil
}

// overNC are ssh's options for a connection over peerd nc.
func (w *sshWorld) overNC() []string {
	return []string{"-F", w.config, "-o", "ProxyCommand=peerd nc " + w.peer + " 22"}
}

// overNCConfig writes them to a configuration file, for programs that start ssh.
func (w *sshWorld) overNCConfig() (string, error) {
	text, err := os.ReadFile(w.config)
	if err != nil {
		return "", err
	}
	path := w.config + "_nc"
	return path, os.WriteFile(path, fmt.Appendf(text, "ProxyCommand peerd nc %s 22\n", w.peer), 0o600)
}

// run runs a program on A and returns its output; what it complains of is part
// of the error.
func (w *world) run(ctx context.Context, stdin io.Reader, name string, args ...string) ([]byte, error) {
	cmd := w.program(ctx, w.lab.A, "a", name, args...)
	cmd.Stdin = stdin
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(name), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}

func sshLogin(ctx context.Context, g ground) (finding, error) {
	return sshExperiment(ctx, g, cell{A: "linux-drop", B: "user-rst", RTT: 20 * time.Millisecond}, func(w *sshWorld) (finding, error) {
		return w.login(ctx, g, "ssh", append(w.overNC(), "home")...)
	})
}

func peerdSSHLogin(ctx context.Context, g ground) (finding, error) {
	return sshExperiment(ctx, g, cell{A: "user-drop", B: "linux-open", RTT: 20 * time.Millisecond}, func(w *sshWorld) (finding, error) {
		return w.login(ctx, g, w.peerd, "ssh", "-F", w.config, w.peer)
	})
}

func scpBothWays(ctx context.Context, g ground) (finding, error) {
	return sshExperiment(ctx, g, cell{A: "linux-open", B: "linux-drop", RTT: transferRTT}, func(w *sshWorld) (finding, error) {
		return w.copies(ctx, g, "home", append([]string{"scp", "-q"}, w.overNC()...)...)
	})
}

func rsyncBothWays(ctx context.Context, g ground) (finding, error) {
	return sshExperiment(ctx, g, cell{A: "user-drop", B: "linux-icmp", RTT: transferRTT}, func(w *sshWorld) (finding, error) {
		config, err := w.overNCConfig()
		if err != nil {
			return finding{}, err
		}
		return w.copies(ctx, g, "home", "rsync", "-e", "ssh -F "+config)
	})
}

func scpOverPeerdSSH(ctx context.Context, g ground) (finding, error) {
	return sshExperiment(ctx, g, cell{A: "user-rst", B: "linux-drop", RTT: transferRTT}, func(w *sshWorld) (finding, error) {
		script := filepath.Join(g.dir, "peerd-ssh")
		if err := os.WriteFile(script, []byte("#!/bin/sh\nexec peerd ssh \"$@\"\n"), 0o755); err != nil {
			return finding{}, err
		}
		return w.copies(ctx, g, w.peer, "scp", "-q", "-F", w.config, "-S", script)
	})
}

func rsyncOverPeerdSSH(ctx context.Context, g ground) (finding, error) {
	return sshExperiment(ctx, g, cell{A: "linux-drop", B: "linux-open", RTT: transferRTT}, func(w *sshWorld) (finding, error) {
		name, err := sshUser()
		if err != nil {
			return finding{}, err
		}
		return w.copies(ctx, g, name+"@"+w.peer, "rsync", "-e", "peerd ssh -F "+w.config)
	})
}

// sshExperiment runs one in a world of its own.
func sshExperiment(ctx context.Context, g ground, c cell, try func(*sshWorld) (finding, error)) (finding, error) {
	w, err := newSSHWorld(ctx, g, c)
	if err != nil {
		return finding{}, err
	}
	defer w.lab.Close()
	return try(w)
}

// login runs commands over ssh, which is the program with arguments that end
// with the destination.
func (w *sshWorld) login(ctx context.Context, g ground, ssh string, args ...string) (f finding, err error) {
	size := figure(g, 1<<20, 32<<20)
	sent := randomBytes(1, size)
	began := time.Now()
	got, err := w.run(ctx, bytes.NewReader(sent), ssh, append(args, "cat; echo complaint >&2; exit 42")...)
	took := time.Since(began)
	var exit *exec.ExitError
	switch {
	case !errors.As(err, &exit) || exit.ExitCode() != 42:
		return f, errors.Join(errors.New("the exit code is not 42"), err)
	case string(exit.Stderr) != "complaint\n":
		return f, fmt.Errorf("standard error has become %q", exit.Stderr)
	case !bytes.Equal(got, sent):
		return f, fmt.Errorf("of %d random bytes %d came back, not the same", len(sent), len(got))
	}
	if out, err := w.run(ctx, nil, ssh, append(args, "echo $((6*7))")...); err != nil || string(out) != "42\n" {
		return f, errors.Join(fmt.Errorf("a command answered %q", out), err)
	}
	return finding{Text: fmt.Sprintf("%d MiB through cat in %.1f s, exit code 42", size>>20, took.Seconds())}, nil
}

// copies copies a file to B, which the program knows by that name, and another
// one from there, and compares.
func (w *sshWorld) copies(ctx context.Context, g ground, b string, program ...string) (f finding, err error) {
	size := figure(g, int64(8<<20), int64(transferSize))
	path := func(name string) string { return filepath.Join(g.dir, name) }
	var texts []string
	for seed, way := range []struct{ text, source, from, to string }{
		{"to B", path("up"), path("up"), b + ":" + path("up.copy")},
		{"from B", path("down"), b + ":" + path("down"), path("down.copy")},
	} {
		sum, err := randomFile(way.source, byte(seed), size)
		if err != nil {
			return f, err
		}
		began := time.Now()
		if _, err := w.run(ctx, nil, program[0], append(slices.Clone(program[1:]), way.from, way.to)...); err != nil {
			return f, err
		}
		took := time.Since(began)
		if copied, err := fileSum(way.source + ".copy"); err != nil || copied != sum {
			return f, errors.Join(fmt.Errorf("what was copied %s is not the same", way.text), err)
		}
		texts = append(texts, fmt.Sprintf("%s in %.1f s", way.text, took.Seconds()))
	}
	return finding{Text: fmt.Sprintf("%d MiB %s", size>>20, strings.Join(texts, ", "))}, nil
}

func randomBytes(seed byte, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// randomFile writes a file of pseudo-random bytes.
func randomFile(path string, seed byte, size int64) (sum [sha256.Size]byte, err error) {
	f, err := os.Create(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.CopyBuffer(io.MultiWriter(f, hash), io.LimitReader(rand.NewChaCha8([32]byte{seed}), size), make([]byte, fileBuffer))
	hash.Sum(sum[:0])
	return sum, errors.Join(err, f.Close())
}

func fileSum(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.CopyBuffer(hash, f, make([]byte, fileBuffer))
	hash.Sum(sum[:0])
	return sum, err
}
