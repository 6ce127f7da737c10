package wine

import "testing"

// network is a server under Wine, and machines that know it.
type network struct {
	server      *background
	linux, wine *machine
}

func newNetwork(t *testing.T, p *programs, w *prefix) *network {
	n := &network{linux: p.here(t), wine: p.under(t, w)}
	n.server = n.wine.begin(t, "server", "serve", "--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "-v")
	url := n.server.says(t, false, `^(peerd://127\.0\.0\.1:\d+#p[a-z2-7]{55})$`)
	for _, m := range []*machine{n.linux, n.wine} {
		m.env = append(m.env, "PEERD_SERVER="+url)
	}
	return n
}
