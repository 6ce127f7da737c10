package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

const version = "0.1.0-dev"

// versionAnswer is what "version --json" prints.
type versionAnswer struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Revision string `json:"revision,omitempty"` // of the source, if the build knows it
	Modified *bool  `json:"modified,omitempty"` // whether the source differed from Revision, if the build knows it
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version of peerd, and what it was built with and from.

With --json: {"version", "go", "os", "arch", "revision", "modified"}; the last two
are left out where the build does not know them.`,
		Example: "  peerd version",
		Args:    takes(),
		RunE:    p.begin(func(*cobra.Command, []string) error { return p.version() }),
	}
}

func (p *program) version() error {
	answer := buildVersion()
	if p.json {
		return p.printJSON(answer)
	}
	return p.println(answer.String())
}

func buildVersion() versionAnswer {
	v := versionAnswer{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			modified := s.Value == "true"
			v.Modified = &modified
		}
	}
	return v
}

// String returns the line for people.
func (v versionAnswer) String() string {
	from := ""
	if v.Revision != "" {
		from = ", " + v.Revision[:min(12, len(v.Revision))]
	}
	if v.Modified != nil && *v.Modified {
		from += ", modified"
	}
	return fmt.Sprintf("peerd %s (%s, %s/%s%s)", v.Version, v.Go, v.OS, v.Arch, from)
}
