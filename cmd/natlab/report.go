package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// provenance says what a proof was measured on.
type provenance struct {
	Commit string `json:"commit"`
	Date   string `json:"date"`
	System string `json:"system"`
	Go     string `json:"go"`
	CPUs   int    `json:"cpus"`
}

// readProvenance asks git for the commit: a proof of changed files would be a
// proof of nothing that others can check out.
func readProvenance() (provenance, error) {
	status, err := exec.Command("git", "status", "--porcelain", "--", "*.go", "go.mod", "go.sum").Output()
	if err != nil {
		return provenance{}, fmt.Errorf("this runs in a git checkout, to name the commit: %w", err)
	}
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		return provenance{}, fmt.Errorf("reading the commit: %w", err)
	}
	p := provenance{
		Commit: strings.TrimSpace(string(commit)), Date: time.Now().UTC().Format(time.DateOnly),
		System: kernel(), Go: runtime.Version(), CPUs: runtime.NumCPU(),
	}
	if len(bytes.TrimSpace(status)) > 0 {
		p.Commit += uncommitted
	}
	return p, nil
}

const uncommitted = " with uncommitted changes"

// dirty reports whether the commit is not all that was measured.
func (p provenance) dirty() bool { return strings.HasSuffix(p.Commit, uncommitted) }

func kernel() string {
	out, err := exec.Command("uname", "-srm").Output()
	if err != nil {
		return runtime.GOOS + " " + runtime.GOARCH
	}
	return strings.TrimSpace(string(out))
}

// heading is the paragraph below a report's title.
func (p provenance) heading(name, took string) string {
	return fmt.Sprintf("Measured by `natlab prove %s` on commit %s, %s, in %s.\n%s, %s, %d CPUs. The same figures as JSON: [%s.json](%s.json).\n",
		name, p.Commit, p.Date, took, p.System, p.Go, p.CPUs, name, name)
}

func sinceBegan(began time.Time) string { return time.Since(began).Round(time.Second).String() }

// writeProof writes a report's two files.
func writeProof(dir, name string, r proofReport) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".md"), r.markdown(), 0o644)
}
