package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/peerd/peerd/punch/natlab"
)

// sshdAddr is where the lab's sshd listens on B. It is exposed as 22: only root
// could bind that.
const sshdAddr = "127.0.0.1:2222"

// sshd is OpenSSH's server on host B, with keys and configurations of its own
// in a directory of its own.
type sshd struct {
	dir    string
	config string // of clients
	cmd    *natlab.Cmd
}

// startSSHD starts the server. Clients that use its configuration for them log
// in as the user that this is, without a question, and know the server's key
// under each of the names.
func startSSHD(ctx context.Context, h *natlab.Host, dir string, names ...string) (*sshd, error) {
	s := &sshd{dir: dir, config: filepath.Join(dir, "ssh_config")}
	program, err := findProgram("sshd")
	if err != nil {
		return nil, err
	}
	if err := s.prepare(names); err != nil {
		return nil, err
	}
	s.cmd = sshdCommand(ctx, h, program, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	return s, s.start()
}

// prepare writes the keys and the configurations.
func (s *sshd) prepare(names []string) error {
	name, err := sshUser()
	if err != nil {
		return err
	}
	for _, key := range []string{"host_key", "client_key"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(s.dir, key)).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	hostKey, err := os.ReadFile(filepath.Join(s.dir, "host_key.pub"))
	if err != nil {
		return err
	}
	var known strings.Builder
	for _, name := range names {
		fmt.Fprintf(&known, "%s %s", name, hostKey)
	}
	for file, text := range map[string]string{
		"known_hosts": known.String(),
		"sshd_config": fmt.Sprintf(sshdConfig, sshdAddr, s.dir, s.dir),
		"ssh_config":  fmt.Sprintf(sshConfig, name, s.dir, s.dir),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

const sshdConfig = `ListenAddress %s
HostKey %s/host_key
AuthorizedKeysFile %s/client_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
`

const sshConfig = `User %s
IdentityFile %s/client_key
IdentitiesOnly yes
UserKnownHostsFile %s/known_hosts
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
LogLevel ERROR
`

// start returns once the server listens.
func (s *sshd) start() error {
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting sshd: %w", err)
	}
	var said []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "Server listening") {
			go func() { // until it ends; a full pipe would stop it
				for lines.Scan() {
				}
			}()
			return nil
		}
		said = append(said, lines.Text())
	}
	return fmt.Errorf("sshd: %w: %s", s.cmd.Wait(), strings.Join(said, "; "))
}

// sshUser is the name of the user that sshd and its clients run as.
func sshUser() (string, error) {
	u, err := user.LookupId(strconv.Itoa(outerUID()))
	if err != nil {
		return "", fmt.Errorf("sshd needs a user with a name: %w", err)
	}
	return u.Username, nil
}
