package authorized

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerd/peerd/proto"
)

var home, trip, work = proto.ID{1}, proto.ID{2}, proto.ID{3}

// sample has every form of a line; %s are the IDs of home, trip and work.
const sample = `# who may connect

%s home
	permit-open="22,web,*:443" %s trip # the laptop

permit-listen="8080",permit-open="" %s`

func sampleText() string { return fmt.Sprintf(sample, home, trip, work) }

func TestParse(t *testing.T) {
	f := Parse("file", []byte(sampleText()))
	want := []Entry{
		{Peer{ID: home, Name: "home"}, 3},
		{Peer{ID: trip, Name: "trip", Open: []string{"22", "web", "*:443"}}, 4},
		{Peer{ID: work, Open: []string{}, Listen: []string{"8080"}}, 6},
	}
	if diff := cmp.Diff(want, f.Entries()); diff != "" || f.Err() != nil {
		t.Errorf("%v, (-want +got)\n%s", f.Err(), diff)
	}
	if string(f.Bytes()) != sampleText() {
		t.Errorf("the content became %q", f.Bytes())
	}
}

// A bad line grants nothing, and takes nothing from the others.
func TestBadLines(t *testing.T) {
	id := home.String()
	for text, want := range map[string]string{
		"pabc":                                    `neither an option nor a peer ID: a peer ID has 56 characters, not 4`,
		strings.Replace(id, "aaaa", "aaba", 1):    `mistyped`,
		(proto.ID{}).String():                     `the zero ID belongs to nobody`,
		id + " two names":                         `"names" behind the name`,
		id + " 22":                                `name "22": a name has a letter in it`,
		id + " -x":                                `name "-x": a name does not begin with '-'`,
		`permit-open="22"`:                        `a space or a comma is missing`,
		`permit-open="22" `:                       `a space or a comma is missing`,
		`permit-open="22" # x`:                    `a space or a comma is missing`,
		`permit-open="22 ` + id:                   `no closing quote`,
		`permit-open="22"` + id:                   `a space or a comma is missing`,
		`permit-open="22",` + id:                  `an option has the form name="value"`,
		`permit-open="22", ` + id:                 `an option has the form name="value"`,
		`permit-open="22",permit-open="" ` + id:   `option permit-open is there twice`,
		`permit-opens="22" ` + id:                 `unknown option "permit-opens"`,
		`permit-open="22,,23" ` + id:              `option permit-open: `,
		`permit-open="70000" ` + id:               `option permit-open: `,
		`permit-listen="10.0.0.0/8:1" ` + id:      `option permit-listen: `,
		`permit-open=22 ` + id:                    `neither an option nor a peer ID`,
		`command="rm",permit-listen="8080" ` + id: `unknown option "command"`,
		trip.String() + " again":                  `is in line 1 already`,
	} {
		f := Parse("file", []byte(trip.String()+"\n"+text+"\n"+work.String()))
		errs := f.Errors()
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "file:2: ") || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%q: %v, want %q", text, errs, want)
		}
		if ids := idsOf(f); !slices.Equal(ids, []proto.ID{trip, work}) {
			t.Errorf("%q: authorised are %v", text, ids)
		}
	}
}

func idsOf(f *File) (ids []proto.ID) {
	for _, e := range f.Entries() {
		ids = append(ids, e.ID)
	}
	return ids
}

func TestEdit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_peers")
	if err := os.WriteFile(path, []byte(sampleText()), 0o644); err != nil {
		t.Fatal(err)
	}
	other := proto.ID{4}
	err := Edit(path, func(f *File) error {
		f.Set(Peer{ID: trip, Name: "laptop"})
		f.Set(Peer{ID: other, Open: []string{"web"}})
		if !f.Remove(home) || f.Remove(home) {
			t.Error("removing home twice")
		}
		return nil
	})
	want := fmt.Sprintf(`# who may connect

%s laptop # the laptop

permit-listen="8080",permit-open="" %s
permit-open="web" %s
`, trip, work, other)
	got, _ := os.ReadFile(path)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v, (-want +got)\n%s", err, diff)
	}
}

func TestEditRefusesBadLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_peers")
	const bad = "nonsense\n"
	if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Edit(path, func(f *File) error { f.Set(Peer{ID: home}); return nil })
	var at *LineError
	if !errors.As(err, &at) || at.Line != 1 || at.Path != path {
		t.Errorf("error is %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != bad {
		t.Errorf("the file became %q", got)
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "home", "Trip-2", "_x", "vps.example.org", "2a", strings.Repeat("n", 64)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	mistyped := strings.Replace(home.String(), "aaaa", "aaba", 1)
	for _, bad := range []string{"", "22", "1.5", "10.0.0.1", "-a", ".a", "a b", "a:b", "a/b", "ä", "a#", home.String(), mistyped, strings.Repeat("n", 65)} {
		if CheckName(bad) == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

func TestNameFrom(t *testing.T) {
	for text, want := range map[string]string{
		"laptop": "laptop", "Laptop.local": "laptop", "Anna’s MacBook": "anna-s-macbook", "-x-": "x",
		"": "peer-" + home.Short(), "42": "peer-" + home.Short(), "\n\x1b[2J": "2j", strings.Repeat("x", 99): strings.Repeat("x", 32),
		home.String(): home.String()[:32],
	} {
		if got := NameFrom(text, home); got != want || CheckName(got) != nil {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sampleText())
	f.Add("permit-open=\"unix:/a b\" " + home.String() + " n #c\r\nx")
	f.Fuzz(func(t *testing.T, text string) {
		file := Parse("file", []byte(text))
		if got := string(file.Bytes()); got != text {
			t.Fatalf("%q became %q", text, got)
		}
		var formatted strings.Builder
		for _, e := range file.Entries() {
			formatted.WriteString(e.Peer.String() + "\n")
		}
		again := Parse("file", []byte(formatted.String()))
		if again.Err() != nil {
			t.Fatalf("%q: %v", formatted.String(), again.Err())
		}
		for i, e := range again.Entries() {
			if diff := cmp.Diff(file.Entries()[i].Peer, e.Peer); diff != "" {
				t.Fatalf("(-parsed +again)\n%s", diff)
			}
		}
		errs := len(file.Errors())
		for _, e := range file.Entries() { // writing a line over itself changes nobody
			file.Set(e.Peer)
		}
		if set := Parse("file", file.Bytes()); len(set.Entries()) != len(again.Entries()) || len(set.Errors()) != errs {
			t.Fatalf("%q became %q", text, file.Bytes())
		}
	})
}
