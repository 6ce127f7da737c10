package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

func allClaims() []claim {
	return slices.Concat(tunnelClaims(), socketClaims(), reportClaims(), capClaims())
}

// TestClaims runs a sample of every experiment of the proofs.
func TestClaims(t *testing.T) {
	natlab.Require(t)
	g := ground{dir: t.TempDir()}
	var err error
	if g.peerd, err = build(t.Context(), g.dir, "peerd"); err != nil {
		t.Fatal(err)
	}
	for _, c := range allClaims() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := c.try(t.Context(), g)
			var missing *missingError
			switch {
			case errors.As(err, &missing) && os.Getenv("CI") != "true":
				t.Skip(err)
			case err != nil:
				t.Error(err)
			}
			t.Log(f.Text)
			if f.Table != nil {
				t.Logf("\n%s", f.Table)
			}
		})
	}
}

// TestNATClaims probes a kernel's NAT, a userspace one and a row; package natlab probes all.
func TestNATClaims(t *testing.T) {
	natlab.Require(t)
	for _, c := range natClaims() {
		switch strings.TrimPrefix(c.name, "nat ") {
		case "openwrt", "sym-seq", "double":
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				f, err := c.try(t.Context(), ground{dir: t.TempDir()})
				if err != nil || !strings.HasPrefix(f.Text, "1 of 1 ") {
					t.Error(f.Text, err)
				}
			})
		}
	}
}

func TestClaimNames(t *testing.T) {
	var names []string
	for _, c := range slices.Concat(allClaims(), natClaims()) {
		if c.name == "" || c.text == "" || strings.HasSuffix(c.text, ".") || strings.ContainsAny(c.name, "/|") || slices.Contains(names, c.name) {
			t.Errorf("%q: %q", c.name, c.text)
		}
		names = append(names, c.name)
	}
}

func TestClaimsReport(t *testing.T) {
	r := claimsReport{name: "doors", title: "Doors", setting: "All are wooden.", Took: "1s", Results: []claimResult{
		{Name: "one", Claim: "a | b", Seconds: 1, finding: finding{Text: "3 of 3"}},
		{Name: "two", Claim: "c", Error: "it\nbroke", finding: finding{Table: &table{Head: []string{"x", "y"}, Rows: [][]string{{"1", "2"}}}}},
	}}
	if err := r.verdict(); err == nil || !strings.Contains(err.Error(), "two") || strings.Contains(err.Error(), "one") {
		t.Error(err)
	}
	for _, want := range []string{"# Doors\n", "`natlab prove doors`", "**1 of 2 claims hold.** All are wooden.\n", "| a \\| b | one | 1.0 | holds. 3 of 3 |", "| c | two | 0.0 | FAILED: it; broke |", "## two\n\nc.\n\n| x | y |\n|---|---|\n| 1 | 2 |\n"} {
		if md := string(r.markdown()); !strings.Contains(md, want) {
			t.Errorf("no %q in\n%s", want, md)
		}
	}
}

func TestProveUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"tunnel"}, `natlab: invalid argument "tunnel" for "natlab prove"; see "natlab prove --help"`},
		{[]string{"--only", "("}, "natlab: --only: error parsing regexp"},
		{[]string{"tunnels", "--only", "linux-drop × linux-drop"}, `natlab: --only "linux-drop × linux-drop": no cell or claim of tunnels has a name like that`},
		{[]string{"main-job", "--runs", "1"}, `natlab: a part of the proof needs an --out of its own`},
	} {
		code, out, stderr := natlabRun(t, "", append([]string{"prove"}, c.args...)...)
		if code != exitUsage || out != "" || !strings.HasPrefix(stderr, c.want) {
			t.Errorf("%q: exit code %d, %q, %q", c.args, code, out, stderr)
		}
	}
}
