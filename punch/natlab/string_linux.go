package natlab

import (
	"fmt"
	"strings"
)

// String draws the lab with its addresses, delays and profiles.
func (l *Lab) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server %v, %v ──TUN── fabric\n", l.Server.Addr(), l.Server.alternate)
	for _, s := range l.sites[1:] {
		s.draw(&b, s == l.sites[len(l.sites)-1])
	}
	return b.String()
}

// draw hangs a site under the fabric.
func (s *site) draw(b *strings.Builder, last bool) {
	indent, branch := strings.Repeat(" ", 44), "├──"
	if last {
		branch = "└──"
	}
	fmt.Fprintf(b, "%s%s %s", indent, branch, s.describeLink())
	fmt.Fprintln(b)
	if len(s.boxes) == 0 {
		fmt.Fprintf(b, "%s%s      no NAT\n", indent, bar(last))
	}
	for _, x := range s.boxes { // from the outside to the inside
		fmt.Fprintf(b, "%s%s      %s\n", indent, bar(last), x.describe())
	}
	for _, h := range s.hosts {
		fmt.Fprintf(b, "%s%s      host %s %v\n", indent, bar(last), h.name, h.Addr())
	}
}

func bar(last bool) string {
	if last {
		return " "
	}
	return "│"
}

func (s *site) describeLink() string {
	d := fmt.Sprintf("%v one way", s.link.delay)
	if s.link.jitter > 0 {
		d += fmt.Sprintf(", jitter %v", s.link.jitter)
	}
	if s.link.loss > 0 {
		d += fmt.Sprintf(", loss %.2g %%", 100*s.link.loss)
	}
	if l := &s.link.line; l.rate > 0 { // its other fields change all the time
		d += fmt.Sprintf(", sends %g Mbit/s, queue %d bytes", float64(l.rate)/1e6, l.queue)
	}
	return d
}

func (b *box) describe() string {
	kind := "userspace"
	if b.profile.Kernel {
		kind = "kernel"
	}
	return fmt.Sprintf("NAT %s (%s) %v, LAN %v", b.profile.Name, kind, b.out.addrs[0].Addr(), b.lan)
}
