package wine

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

// Two nodes that can only dial, a server, each under Wine, and two NATs: the
// dials meet by simultaneous open.
func testBehindNATs(t *testing.T, p *programs, w *prefix) {
	natlab.Require(t)
	for _, names := range [][2]string{{"linux-drop", "linux-open"}, {"user-rst", "linux-icmp"}} {
		t.Run(names[0]+" × "+names[1], func(t *testing.T) { testPair(t, p, w, newLab(t, names)) })
	}
}

func newLab(t *testing.T, names [2]string) *natlab.Lab {
	t.Helper()
	var nats [2]natlab.Profile
	for i, name := range names {
		var err error
		if nats[i], err = natlab.ProfileByName(name); err != nil {
			t.Fatal(err)
		}
	}
	lab, err := natlab.New(natlab.Config{A: nats[0], B: nats[1], RTT: 20e6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	return lab
}

func testPair(t *testing.T, p *programs, w *prefix, lab *natlab.Lab) {
	a, b, s := p.under(t, w.another(t)).on(lab.A), p.under(t, w.another(t)).on(lab.B), p.under(t, w.another(t)).on(lab.Server)
	server := s.begin(t, "server", "serve", "--public-addr", lab.Server.Addr().String())
	url := "PEERD_SERVER=" + server.says(t, false, `^(peerd://\S+)$`)
	a.env, b.env = append(a.env, url), append(b.env, url)
	l, err := lab.B.Listen(lab.B.Addr().String() + ":0")
	if err != nil {
		t.Fatal(err)
	}
	home := b.id(t, "home")
	b.begin(t, "home", "run", "--allow", a.id(t, "away"), "--expose", "echo="+echo(t, l)).says(t, false, "^"+home)
	sent := randomBytes()
	sameBytes(t, a.answer(t, sent, "away", "nc", home, "echo"), sent)
	want := fmt.Sprintf("direct %s:", lab.B.PublicAddr())
	if out := a.answer(t, nil, "away", "ping", "-c", "1", home); !bytes.HasPrefix(out, []byte(want)) {
		t.Errorf("ping printed %q, want %s…", out, want)
	}
}
