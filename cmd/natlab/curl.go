package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// curlClaims are about curl, through -L and -D.
func curlClaims() []claim {
	needs := []string{"curl"}
	return []claim{
		{"curl, rude servers", "curl through `-L` and `-D` reports what it reports without peerd: an error where a server resets or ends too early, the answer where a server answers before it reads",
			needs, curlRude},
		{"curl, peerd killed", "a download without Content-Length is an error at curl when either peerd is killed with SIGKILL in the middle",
			needs, curlKilled},
		{"curl, big files", "downloads and uploads through `-L` and `-D` have the right SHA-256",
			needs, curlBigFiles},
	}
}

// webWorld is a world with the web on B and peerd connect on A.
type webWorld struct {
	*world
	web     *web
	connect *connect
	routes  []route
	dir     string
}

// route is a way from a client to the sites.
type route struct {
	name string
	host *natlab.Host
	curl []string // arguments
	dial func(ctx context.Context, site string) (net.Conn, error)
}

const (
	socksAddr  = "127.0.0.1:1080"
	directName = "without peerd"
)

func newWebWorld(ctx context.Context, g ground, c cell) (*webWorld, error) {
	inner, err := newWorld(ctx, g.peerd, g.dir, c, webExposed()...)
	if err != nil {
		return nil, err
	}
	w := &webWorld{world: inner, dir: g.dir}
	if w.web, err = startWeb(w.lab.B, g.dir); err != nil {
		w.close()
		return nil, err
	}
	args := []string{"-D", socksAddr}
	for _, s := range webSites {
		args = append(args, "-L", s.addr+":"+s.name)
	}
	w.routes = []route{
		{directName, w.lab.B, connectTo(), dialSite(w.lab.B)},
		{"-L", w.lab.A, connectTo(), dialSite(w.lab.A)},
		{"-D", w.lab.A, []string{"--socks5-hostname", socksAddr}, dialThroughSOCKS(w.lab.A)},
	}
	if w.connect, err = w.startConnect(ctx, w.lab.A, "a", w.peer, args...); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *webWorld) close() {
	w.lab.Close()
	if w.web != nil {
		w.web.close()
	}
}

// connectTo has curl find the sites at their addresses, which are those of the
// forwards on A too.
func connectTo() (args []string) {
	for _, s := range webSites {
		args = append(args, "--connect-to", s.name+":"+s.addr)
	}
	return args
}

func dialSite(h *natlab.Host) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, site string) (net.Conn, error) {
		for _, s := range webSites {
			if s.name == site {
				return h.Dial(ctx, s.addr)
			}
		}
		return nil, fmt.Errorf("no site %s", site)
	}
}

func dialThroughSOCKS(h *natlab.Host) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, site string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(site)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, err
		}
		return dialSOCKS(ctx, h, socksAddr, host, uint16(n))
	}
}

// curlResult is how curl ended.
type curlResult struct {
	code   int
	status string // of HTTP
	body   string // file
	said   string
}

func (r curlResult) String() string {
	return strings.TrimSpace(fmt.Sprintf("exit code %d, HTTP %s, %s", r.code, r.status, r.said))
}

// curl prepares curl, which keeps the body in a file of that name, if it has
// one.
func (w *webWorld) curl(ctx context.Context, r route, name string, args ...string) (*natlab.Cmd, *curlResult) {
	res := &curlResult{}
	args = slices.Concat([]string{"-q", "-sS", "--no-buffer", "--max-time", "120", "-w", "%{http_code}"}, r.curl, args)
	if name != "" {
		res.body = filepath.Join(w.dir, name+r.name)
		args = append(args, "-o", res.body)
	}
	cmd := w.program(ctx, r.host, "curl", "curl", args...)
	cmd.Env = append(cmd.Env, "http_proxy=", "https_proxy=", "all_proxy=", "no_proxy=", "HTTPS_PROXY=", "ALL_PROXY=", "NO_PROXY=")
	return cmd, res
}

// runCurl runs curl to its end.
func (w *webWorld) runCurl(ctx context.Context, r route, name string, args ...string) (curlResult, error) {
	cmd, res := w.curl(ctx, r, name, args...)
	out, err := cmd.Output()
	res.status = string(out)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		res.code, res.said, err = exit.ExitCode(), strings.TrimSpace(string(exit.Stderr)), nil
	}
	return *res, err
}

// curlCase is one request and what is right for it.
type curlCase struct {
	name string
	args []string
	want func(curlResult) error
	// codes are the exit codes that are documented for a route.
	codes map[string][]int
}

func rudeCases(big string) []curlCase {
	upload := func(path string) []string { return []string{"-H", "Expect:", "-T", big, "http://rude.test" + path} }
	return []curlCase{
		{name: "ends with the connection", args: []string{"http://rude.test/whole"}, want: wantWhole},
		{name: "resets, with Content-Length", args: []string{"http://rude.test/reset-length"}, want: wantError},
		{name: "resets, without Content-Length", args: []string{"http://rude.test/reset-no-length"}, want: wantError},
		{name: "resets, chunked", args: []string{"http://rude.test/reset-chunked"}, want: wantError},
		{name: "ends before Content-Length", args: []string{"http://rude.test/short-length"}, want: wantError},
		{name: "answers before reading, then reads", args: upload("/early"), want: wantAnswer},
		{name: "answers before reading, then closes", args: upload("/early-close"), want: wantAnswerOrError},
		{name: "nobody listens", args: []string{"http://nobody.test/"}, want: wantError,
			codes: map[string][]int{"-L": {52, 56}, "-D": {97}}},
	}
}

func wantError(r curlResult) error {
	if r.code == 0 {
		return errors.New("curl says that all is well")
	}
	return nil
}

func wantWhole(r curlResult) error {
	if r.code != 0 {
		return errors.New("the body ended properly")
	}
	return sameFile(r.body, 3, rudeSize)
}

// wantAnswerOrError is for a server that resets right behind its answer. curl
// may see the reset first, without peerd too.
func wantAnswerOrError(r curlResult) error {
	if r.code != 0 {
		return nil
	}
	return wantAnswer(r)
}

// wantAnswer wants the answer to a request whose body was not read.
func wantAnswer(r curlResult) error {
	if r.code != 0 {
		return errors.New("the answer ended properly")
	}
	body, err := os.ReadFile(r.body)
	if err != nil || r.status != "413" || string(body) != "too large" {
		return errors.Join(fmt.Errorf("the answer has not come, but %q", body), err)
	}
	return nil
}

// sameFile compares a file with a pseudo-random one.
func sameFile(path string, seed byte, size int64) error {
	hash := sha256.New()
	io.CopyN(hash, randomStream(seed), size)
	want := [sha256.Size]byte(hash.Sum(nil))
	got, err := fileSum(path)
	if err == nil && got != want {
		err = fmt.Errorf("the SHA-256 of %s is wrong", filepath.Base(path))
	}
	return err
}

func curlRude(ctx context.Context, g ground) (f finding, err error) {
	w, err := newWebWorld(ctx, g, cell{A: "linux-drop", B: "user-rst", RTT: 20 * time.Millisecond})
	if err != nil {
		return f, err
	}
	defer w.close()
	big := filepath.Join(g.dir, "big")
	if _, err := randomFile(big, 5, figure(g, int64(16<<20), 64<<20)); err != nil {
		return f, err
	}
	f.Table = &table{Head: []string{"the server", directName, "-L", "-D"}}
	var bad []error
	for _, c := range rudeCases(big) {
		row := []string{c.name}
		for _, r := range w.routes {
			res, err := w.runCurl(ctx, r, "body", c.args...)
			if err != nil {
				return f, err
			}
			if err := c.check(r, res); err != nil {
				bad = append(bad, fmt.Errorf("%s, %s: %w: %v", c.name, r.name, err, res))
			}
			os.Remove(res.body)
			row = append(row, res.String())
		}
		f.Table.Rows = append(f.Table.Rows, row)
	}
	return f, errors.Join(bad...)
}

func (c curlCase) check(r route, res curlResult) error {
	if codes := c.codes[r.name]; codes != nil && !slices.Contains(codes, res.code) {
		return fmt.Errorf("the exit code is none of %v", codes)
	}
	return c.want(res)
}

// curlKilled kills each peerd in the middle of a download.
func curlKilled(ctx context.Context, g ground) (f finding, err error) {
	f.Table = &table{Head: []string{"killed", "-L", "-D"}}
	var bad []error
	for _, victim := range []string{"peerd connect", "peerd run"} {
		row := []string{victim}
		for route := 1; route <= 2; route++ {
			res, err := curlKilledOnce(ctx, g, victim, route)
			if err == nil {
				err = wantError(res)
			}
			if err != nil {
				bad = append(bad, fmt.Errorf("%s killed: %w: %v", victim, err, res))
			}
			row = append(row, res.String())
		}
		f.Table.Rows = append(f.Table.Rows, row)
	}
	return f, errors.Join(bad...)
}

// curlKilledOnce downloads what never ends until a peerd is killed.
func curlKilledOnce(ctx context.Context, g ground, victim string, number int) (res curlResult, err error) {
	if g, err = g.in(fmt.Sprintf("%s-%d", strings.ReplaceAll(victim, " ", "-"), number)); err != nil {
		return res, err
	}
	w, err := newWebWorld(ctx, g, cell{A: "linux-open", B: "linux-drop", RTT: 20 * time.Millisecond})
	if err != nil {
		return res, err
	}
	defer w.close()
	cmd, running := w.curl(ctx, w.routes[number], "body", "http://rude.test/endless")
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Start(); err != nil {
		return res, err
	}
	if err := awaitSize(ctx, running.body, 1<<20); err != nil {
		return res, err
	}
	process := w.runs.Process
	if victim == "peerd connect" {
		process = w.connect.cmd.Process
	}
	if err := process.Kill(); err != nil {
		return res, err
	}
	err = cmd.Wait()
	running.status, running.said = out.String(), strings.TrimSpace(complaint.String())
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		running.code, err = exit.ExitCode(), nil
	}
	return *running, err
}

// awaitSize waits until a file is that long.
func awaitSize(ctx context.Context, path string, size int64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := os.Stat(path); err == nil && info.Size() >= size {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the download did not begin: %w", ctx.Err())
		}
	}
}

// curlBigFiles moves files both ways by both routes.
func curlBigFiles(ctx context.Context, g ground) (f finding, err error) {
	w, err := newWebWorld(ctx, g, cell{A: "user-drop", B: "linux-icmp", RTT: transferRTT})
	if err != nil {
		return f, err
	}
	defer w.close()
	size := figure(g, int64(8<<20), int64(transferSize))
	big := filepath.Join(g.dir, "big")
	sum, err := randomFile(big, 6, size)
	if err != nil {
		return f, err
	}
	f.Text = fmt.Sprintf("%d MiB", size>>20)
	for _, r := range w.routes[1:] {
		began := time.Now()
		down, err := w.runCurl(ctx, r, "down", fmt.Sprintf("http://modern.test/file?seed=6&size=%d", size))
		downTook := time.Since(began)
		if err != nil || down.code != 0 {
			return f, errors.Join(fmt.Errorf("download through %s: %v", r.name, down), err)
		}
		if err := sameFile(down.body, 6, size); err != nil {
			return f, fmt.Errorf("download through %s: %w", r.name, err)
		}
		began = time.Now()
		up, err := w.runCurl(ctx, r, "up", "-H", "Expect:", "-T", big, "http://modern.test/sum")
		if err != nil || up.code != 0 {
			return f, errors.Join(fmt.Errorf("upload through %s: %v", r.name, up), err)
		}
		if got, err := os.ReadFile(up.body); err != nil || string(got) != hex.EncodeToString(sum[:]) {
			return f, errors.Join(fmt.Errorf("upload through %s: the SHA-256 at the server is %q", r.name, got), err)
		}
		f.Text += fmt.Sprintf(", %s down in %.1f s, up in %.1f s", r.name, downTook.Seconds(), time.Since(began).Seconds())
	}
	return f, nil
}
