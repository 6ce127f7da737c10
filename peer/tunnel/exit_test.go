package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// greeter listens and sends a line to whoever connects.
func greeter(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestExitDials(t *testing.T) {
	addr := greeter(t, "tcp4", "127.0.0.1:0").Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	socket := unixPrefix + filepath.Join(t.TempDir(), "s")
	greeter(t, "unix", strings.TrimPrefix(socket, unixPrefix))
	names := map[string]string{"web": addr, "sock": socket, port: addr}
	for _, test := range []struct {
		exit    Exit
		targets []string
		want    error
	}{
		{Exit{Names: names}, []string{"web", "sock", port}, nil},
		{Exit{Names: names}, []string{"", "Web", "nothing", addr, socket, "localhost:" + port, ":" + port}, ErrNotPermitted},
		{Exit{Names: names, Permit: []string{"web"}}, []string{"web"}, nil},
		{Exit{Names: names, Permit: []string{"web"}}, []string{"sock", port, addr, "web:80"}, ErrNotPermitted},
		{Exit{Names: names, Permit: []string{}}, []string{"web", "sock", port, addr}, ErrNotPermitted},
		{Exit{Permit: []string{port}}, []string{port, addr, "localhost:" + port, "LOCALHOST:" + port}, nil},
		{Exit{Permit: []string{socket}}, []string{socket}, nil},
		{Exit{Permit: []string{socket}}, []string{strings.TrimPrefix(socket, unixPrefix), socket + "x", unixPrefix}, ErrNotPermitted},
		{Exit{Names: names, Permit: []string{"*"}}, []string{
			"web", port, addr, socket, "localhost:" + port, ":" + port, "0.0.0.0:" + port, "[::]:" + port,
			"[::ffff:127.0.0.1]:" + port, "[::1%lo]:" + port, "", ":", "*:" + port, "127.0.0.1:", "127.0.0.1:0", "0", "65536", "a b:80", "unix:",
		}, ErrNotPermitted},
		{Exit{Permit: []string{"nowhere.example:80"}}, []string{"nowhere.example:81", "elsewhere.example:80"}, ErrNotPermitted},
		{Exit{}, []string{"", "web", port, addr}, ErrNotPermitted},
	} {
		for _, target := range test.targets {
			end, err := test.exit.Dial(within(t, 10*time.Second), target)
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%v: Dial(%q): %v, want %v", test.exit, target, err, test.want)
			}
			if err != nil {
				continue
			}
			if got, err := io.ReadAll(end); err != nil || string(got) != "hello" {
				t.Errorf("%v: %q sends %q, %v", test.exit, target, got, err)
			}
			end.Close()
		}
	}
}

// A port of the loopback is looked for at both of its addresses.
func TestExitTriesEachAddress(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("no IPv6 loopback:", err)
	} else if err != nil {
		t.Fatal("no IPv6 loopback: ", err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	end, err := Exit{Permit: []string{port}}.Dial(within(t, 10*time.Second), port)
	if err != nil {
		t.Fatal(err)
	}
	end.Close()
}

func TestExitSaysWhyNot(t *testing.T) {
	l := greeter(t, "tcp4", "127.0.0.1:0")
	addr := l.Addr().String()
	l.Close()
	_, err := Exit{Names: map[string]string{"x": addr}}.Dial(within(t, 10*time.Second), "x")
	if !errors.Is(err, syscall.ECONNREFUSED) || IsUnreachable(err) {
		t.Errorf("Dial: %v, want a refusal", err)
	}
	ended, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	_, err = Exit{Names: map[string]string{"x": addr}}.Dial(ended, "x")
	if err != ErrNoAnswer || !IsUnreachable(err) {
		t.Errorf("Dial with no time: %v, want ErrNoAnswer", err)
	}
	_, err = Exit{Names: map[string]string{"x": "unix:/does/not/exist"}}.Dial(t.Context(), "x")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Dial: %v, want that there is no such socket", err)
	}
}

func TestListen(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	for bind, permit := range map[string]string{"0": "*", "localhost:0": "*", "*:0": "*:*", unixPrefix + socket: unixPrefix + socket} {
		if _, err := Listen(t.Context(), bind, nil); err != ErrNotPermitted {
			t.Errorf("Listen(%q) with no permission: %v", bind, err)
		}
		l, err := Listen(t.Context(), bind, []string{permit})
		if err != nil {
			t.Errorf("Listen(%q): %v", bind, err)
			continue
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsLoopback() == (bind == "*:0") {
			t.Errorf("Listen(%q) listens on %v", bind, tcp)
		}
		l.Close()
	}
	for _, bind := range []string{"", "x", "1:2:3", "unix:"} {
		if _, err := Listen(t.Context(), bind, []string{"*", "*:*"}); err != ErrNotPermitted {
			t.Errorf("Listen(%q): %v", bind, err)
		}
	}
}

// What is not known to be dead stays: a datagram socket, and what cannot be
// claimed.
func TestKeepOtherSockets(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "s")
	live, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	if _, err := (Bind{Path: name}).Listen(t.Context()); err == nil {
		t.Error("a datagram socket was replaced")
	}
	link := filepath.Join(dir, "link")
	os.Symlink(filepath.Join(dir, "none"), link)
	if _, err := (Bind{Path: link}).Listen(t.Context()); err == nil {
		t.Error("a link was replaced")
	}
	if _, err := os.Lstat(link); err != nil {
		t.Error(err)
	}
}

// A unix socket is for its user, goes away with its listener, and takes nobody's
// place.
func TestListenUnix(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	b := Bind{Path: name}
	l, err := b.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := b.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "another program listens there") {
		t.Errorf("listening twice: %v", err)
	}
	l.(*unixListener).UnixListener.Close() // as if it were killed
	if !replacesDead {
		if _, err := b.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "a program that is gone") {
			t.Errorf("on a socket that was left: %v", err)
		}
		os.Remove(name)
	}
	if l, err = b.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if l, err = b.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	os.Remove(name)
	other := greeter(t, "unix", name)
	l.Close()
	if _, err := os.Stat(name); err != nil {
		t.Errorf("another program's socket was removed: %v", err)
	}
	other.Close()
	long := Bind{Path: name + strings.Repeat("x", 200)}
	if _, err := long.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("on a long path: %v", err)
	}
	lost := Bind{Path: filepath.Join(name, "none", "s")}
	os.Remove(name)
	if _, err := lost.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no such directory; create it") {
		t.Errorf("below a directory that does not exist: %v", err)
	}
	os.WriteFile(name, nil, 0o600)
	if _, err := b.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "a file is in its place") {
		t.Errorf("on a file: %v", err)
	}
}
