//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto/identity"
)

// The benchmarks in this file compare a forward by `peerd connect -L` with one
// by `ssh -L` (aes128-gcm@openssh.com) to the same target, both with the real
// programs on loopback, in turns, and report medians and their ratio. Loopback
// should use the usual congestion control:
//
//	unshare -n sh -c 'ip link set lo up; ip route replace local 127.0.0.0/8 dev lo src 127.0.0.1 table local congctl cubic; go test -bench Forward -run xxx -benchtime 5x ./cmd/peerd'

// BenchmarkForwardBulkVsSSH reads 256 MiB over one connection.
func BenchmarkForwardBulkVsSSH(b *testing.B) {
	const amount = 256 << 20
	target := serveBytes(b, amount)
	compare(b, "MB/s", target, func(addr string) float64 {
		begun := time.Now()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		buf, got := make([]byte, 256<<10), 0
		for err == nil {
			var n int
			n, err = conn.Read(buf)
			got += n
		}
		if err != io.EOF || got != amount {
			b.Fatalf("read %d bytes, %v", got, err)
		}
		return amount / 1e6 / time.Since(begun).Seconds()
	})
}

// BenchmarkForwardRequestsVsSSH makes small HTTP requests over connections that
// stay open, one or many at a time.
func BenchmarkForwardRequestsVsSSH(b *testing.B) {
	wrk := installed(b, "wrk")
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			compare(b, "req/s", serveHTTP(b), func(addr string) float64 {
				out, err := exec.Command(wrk, "-t1", "-d2s", "-c"+strconv.Itoa(connections), "http://"+addr+"/").CombinedOutput()
				m := regexp.MustCompile(`Requests/sec:\s+([\d.]+)`).FindSubmatch(out)
				if err != nil || m == nil || bytes.Contains(out, []byte("Socket errors")) {
					b.Fatalf("wrk: %v\n%s", err, out)
				}
				rate, _ := strconv.ParseFloat(string(m[1]), 64)
				return rate
			})
		})
	}
}

// compare measures both forwards to a target, in turns.
func compare(b *testing.B, unit, target string, measure func(addr string) float64) {
	ours, ssh := forwardByPeerd(b, target), forwardBySSH(b, target)
	measure(ours)
	measure(ssh)
	var a, s []float64
	for b.Loop() {
		a = append(a, measure(ours))
		s = append(s, measure(ssh))
	}
	slices.Sort(a)
	slices.Sort(s)
	b.ReportMetric(a[len(a)/2], "peerd-"+unit)
	b.ReportMetric(s[len(s)/2], "ssh-"+unit)
	b.ReportMetric(a[len(a)/2]/s[len(s)/2], "ratio")
}

func installed(b *testing.B, name string) string {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		b.Fatalf("%s is not installed", name)
	default:
		b.Skipf("%s is not installed", name)
	}
	return path
}

// serveBytes answers each connection with as many bytes, and its end.
func serveBytes(b *testing.B, amount int) (addr string) {
	return serveConns(b, func(conn net.Conn) {
		defer conn.Close()
		buf := make([]byte, 256<<10)
		for left := amount; left > 0; left -= len(buf) {
			if _, err := conn.Write(buf[:min(left, len(buf))]); err != nil {
				return
			}
		}
	})
}

func serveConns(b *testing.B, serve func(net.Conn)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// serveHTTP answers requests with as little effort as possible.
func serveHTTP(b *testing.B) (addr string) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n" + strings.Repeat("x", 128))
	return serveConns(b, func(conn net.Conn) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	})
}

// forwardByPeerd returns the address of a forward through serve, run and
// connect.
func forwardByPeerd(b *testing.B, target string) (addr string) {
	dir := b.TempDir()
	key, _, err := identity.LoadOrCreate(filepath.Join(dir, "away", peerKeyFile))
	if err != nil {
		b.Fatal(err)
	}
	server := background(b, dir, "srv", "", `^(peerd://\S+)$`, "serve", "--listen", "127.0.0.1:0", "--probe-listen", "")
	id := background(b, dir, "home", server, `^(\S+)$`, "run", "--allow", key.ID().String(), "--expose", "x="+target)
	return background(b, dir, "away", server, `^forward (\S+) ->`, "connect", id, "-L", "0:x")
}

// background runs peerd and returns what a line of its output says.
func background(b *testing.B, dir, name, server, pattern string, args ...string) string {
	b.Helper()
	cmd := exec.Command("peerd", append(args, "--state-dir", filepath.Join(dir, name))...)
	cmd.Env = append(os.Environ(), "PEERD_SERVER="+server)
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	w.Close()
	b.Cleanup(func() {
		in.Close()
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		r.Close()
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, r)
			return m[1]
		}
	}
	b.Fatalf("peerd %s has ended", name)
	return ""
}

// forwardBySSH returns the address of a forward by a throw-away sshd.
func forwardBySSH(b *testing.B, target string) (addr string) {
	sshd, ssh, keygen := installed(b, "sshd"), installed(b, "ssh"), installed(b, "ssh-keygen")
	me, err := user.Current()
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for _, name := range []string{"host", "user"} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			b.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	os.MkdirAll("/run/sshd", 0o755) // sshd, if it runs as root, wants it
	port, local := freePort(b), freePort(b)
	stop(b, exec.Command(sshd, "-D", "-e", "-f", "/dev/null", "-p", port, "-h", filepath.Join(dir, "host"),
		"-o", "ListenAddress=127.0.0.1", "-o", "AuthorizedKeysFile="+filepath.Join(dir, "user.pub"), "-o", "StrictModes=no",
		"-o", "UsePAM=no", "-o", "PidFile=none", "-o", "PermitRootLogin=yes"))
	awaitListener(b, "127.0.0.1:"+port)
	stop(b, exec.Command(ssh, "-N", "-F", "/dev/null", "-i", filepath.Join(dir, "user"), "-p", port,
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
		"-c", "aes128-gcm@openssh.com", "-L", "127.0.0.1:"+local+":"+target, me.Username+"@127.0.0.1"))
	awaitListener(b, "127.0.0.1:"+local)
	return "127.0.0.1:" + local
}

// stop starts a program, and stops it at the end of the benchmark.
func stop(b *testing.B, cmd *exec.Cmd) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if b.Failed() {
			b.Logf("%s:\n%s", cmd.Path, out.Bytes())
		}
	})
}

func freePort(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func awaitListener(b *testing.B, addr string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		if ctx.Err() != nil {
			b.Fatalf("nobody listens at %s: %v", addr, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
