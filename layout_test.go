// Package peerd_test holds the rules of the tree: which package may import
// which, and why.
package peerd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/peerd/peerd/"

// mayImport says for each package which others of this module it may import,
// with the reason. A stage imports proto or nothing of ours; only peer
// assembles stages. A package that is not listed may not exist.
var mayImport = map[string]map[string]string{
	"proto": {},
	"proto/identity": {
		"proto": "a key is a peer ID",
	},
	"rendezvous": {
		"proto":          "the messages",
		"proto/identity": "clients and servers prove their keys",
	},
	"punch": {
		"proto": "candidates, the transcript and the preamble",
	},
	"punch/nat": {
		"proto": "the report, and from where a server dials back",
	},
	"punch/reuse":        {},
	"punch/reuse/survey": {},
	"punch/reuse/survey/linuxrules": {
		"punch/reuse/survey": "its cases, and the outcomes that the kernel's rules say",
	},
	"punch/sim": {
		"proto":     "the transcript of a simulated introduction",
		"punch":     "the very plan and executor that it runs in virtual time",
		"punch/nat": "what a node infers from its NAT's ports",
	},
	"punch/recording": {
		"proto":       "the transcript that it puts into words",
		"punch":       "the events",
		"punch/reuse": "the names of the system's errors",
	},
	"punch/natlab": {},
	"peer/stream": {
		"proto": "the first message on each stream",
	},
	"peer/tunnel": {},
	"peer": {
		"proto":          "IDs and records",
		"proto/identity": "stage [4]",
		"punch":          "stages [2] and [3]",
		"punch/nat":      "what the NATs do, for peers and people",
		"punch/reuse":    "stage [1]",
		"rendezvous":     "introductions",
		"peer/stream":    "stage [6]",
		"peer/tunnel":    "stage [7]",
	},
	"cmd/peerd/ownfile": {},
	"cmd/peerd/authorized": {
		"proto":             "the IDs of peers",
		"peer/tunnel":       "what permit-open and permit-listen may say",
		"cmd/peerd/ownfile": "the file is the user's own",
	},
	"cmd/peerd/wine": {},
	"cmd/peerd": {
		"cmd/peerd/ownfile":    "the configuration file",
		"cmd/peerd/authorized": "who may connect",
		"proto":                "IDs and server URLs on the command line",
		"proto/identity":       "the key file",
		"punch":                "explains punching events",
		"punch/nat":            "peerd doctor",
		"punch/recording":      "connect --record, doctor PEER",
		"punch/reuse":          "which modes work here",
		"punch/reuse/survey":   "peerd sockets",
		"rendezvous":           "peerd serve",
		"peer":                 "everything else",
		"peer/tunnel":          "standard input and output as a tunnel's end",
	},
	"cmd/natlab": {
		"proto":                         "IDs and server URLs, and what reports say",
		"proto/identity":                "keys of its agents",
		"punch":                         "tells what punching did",
		"punch/natlab":                  "the lab",
		"punch/recording":               "what replay repeats",
		"punch/sim":                     "the same pairs in virtual time",
		"rendezvous":                    "the lab's server",
		"punch/reuse/survey":            "what this kernel does",
		"punch/reuse/survey/linuxrules": "what it should do",
		"peer":                          "the lab's nodes",
	},
}

// notInLibrary are modules that a program which embeds package peer must not
// get with it.
var notInLibrary = map[string]string{
	"github.com/spf13/":          "the framework of the command line",
	"github.com/vishvananda/":    "network namespaces are for the lab",
	"github.com/google/nftables": "kernel NATs are for the lab",
	"github.com/nats-io/":        "a cluster of servers is the server's affair",
	"github.com/prometheus/":     "metrics are the program's affair",
	"testing":                    "tests are not for production",
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T, args ...string) (packages []goPackage) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports"}, args...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, complaint.String())
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestImportRules(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath+"/", module)
		name = strings.TrimSuffix(name, "/")
		if p.ImportPath+"/" == module {
			continue // this test
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s has no place in the tree's rules", name)
		}
		for _, imported := range p.Imports {
			ours, is := strings.CutPrefix(imported, module)
			if is && allowed[ours] == "" {
				t.Errorf("%s imports %s, which the tree's rules do not allow", name, ours)
			}
		}
		for ours := range allowed {
			if !slices.Contains(p.Imports, module+ours) {
				t.Errorf("%s does not import %s, which the tree's rules allow", name, ours)
			}
		}
	}
}

func TestLibraryStaysLean(t *testing.T) {
	for _, p := range list(t, "-deps", "./peer") {
		for unwanted, why := range notInLibrary {
			if p.ImportPath == unwanted || strings.HasSuffix(unwanted, "/") && strings.HasPrefix(p.ImportPath, unwanted) {
				t.Errorf("package peer needs %s: %s", p.ImportPath, why)
			}
		}
	}
	if !slices.ContainsFunc(list(t, "-deps", "./peer"), func(p goPackage) bool { return p.ImportPath == module+"punch" }) {
		t.Error("the list of dependencies is not what this test takes it to be")
	}
}
