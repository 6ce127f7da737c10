package natlab

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

// transcript runs a NAT through lines of the form
//
//	out h:5000 s:80 S   -> out o:5000 s:80 S
//	in  s:80 o:5000 S.  -> in s:80 h:5000 S.
//	in  s o icmp3 o:5000 s:80 -> in s h icmp3 h:5000 s:80
//	out h s echo8 77    -> out o s echo8 77
//	wait 10s            -> nothing
//
// with h, i inside hosts, o the outside address, p and q the ones after it, g the gateway, s, t, x public hosts. Several results
// are joined by " + ". A port written $a is bound by its first use in a result. Sequence and acknowledgement numbers may follow
// the flags, and then do so in the result; 1000+d is 1000 plus the offset of the NAT's only session. Every frame that comes out
// must have right checksums.
type transcript struct {
	t     *testing.T
	nat   *translator
	now   time.Time
	ports map[string]string
	// numbers says that the line has sequence numbers.
	numbers bool
}

var scriptNames = map[string]netip.Addr{
	"h": addr("192.168.1.10"), "i": addr("192.168.1.11"), "g": addr("192.168.1.1"), "o": addr("198.51.100.1"),
	"p": addr("198.51.100.2"), "q": addr("198.51.100.3"), "s": addr("203.0.113.10"), "t": addr("203.0.113.20"), "x": addr("192.0.2.1"),
}

func newTestTranslator(cfg NAT) *translator {
	return newTranslator(cfg, prefix("192.168.1.0/24"), scriptNames["g"], pool(cfg.Addresses), rand.New(rand.NewPCG(1, 2)))
}

// pool is the outside addresses: o, and the ones after it.
func pool(n int) []netip.Addr {
	return (&addresses{outside: scriptNames["o"]}).public(max(1, n))
}

func runTranscript(t *testing.T, cfg NAT, script string) {
	s := &transcript{t: t, nat: newTestTranslator(cfg), now: time.Unix(1000, 0), ports: map[string]string{}}
	for line := range strings.Lines(strings.TrimSpace(script)) {
		input, want, _ := strings.Cut(strings.TrimSpace(line), "->")
		got := s.step(strings.Fields(input))
		if want = strings.TrimSpace(want); !s.matches(got, want) {
			t.Errorf("%s\n got %s", strings.TrimSpace(line), got)
		}
	}
}

func (s *transcript) step(words []string) string {
	var out []emit
	s.numbers = false
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.now = s.now.Add(d)
		out = s.nat.tick(s.now, nil)
	case "out":
		out = s.nat.fromInside(s.now, s.build(words[1:]), nil)
	case "in":
		out = s.nat.fromOutside(s.now, s.build(words[1:]), nil)
	}
	return s.render(out)
}

// build makes a frame from "src dst what…".
func (s *transcript) build(w []string) frame {
	src, dst := s.endpoint(w[0]), s.endpoint(w[1])
	if kind, ok := strings.CutPrefix(w[2], "echo"); ok {
		f, m := newIPv4(src.Addr(), dst.Addr(), protoICMP, 8)
		id, _ := strconv.Atoi(w[3])
		m[0] = atoi(kind)
		binary.BigEndian.PutUint16(m[4:], uint16(id))
		binary.BigEndian.PutUint16(m[2:], ^fold(sum16(0, m)))
		return f
	}
	if kind, ok := strings.CutPrefix(w[2], "icmp"); ok {
		seq := uint32(7)
		if len(w) > 5 {
			s.numbers, seq = true, s.number(w[5])
		}
		quoted, _ := parse(newTCP(s.endpoint(w[3]), s.endpoint(w[4]), SYN, seq, 0))
		f := icmpError(&quoted, src.Addr(), atoi(kind), 1)
		p, _ := parse(f)
		p.setDestination(dst)
		return f
	}
	seq, ack := uint32(100), uint32(200)
	if len(w) > 3 && !strings.HasPrefix(w[3], "ttl") {
		s.numbers, seq, ack = true, s.number(w[3]), 0
	}
	if len(w) > 4 {
		ack = s.number(w[4])
	}
	f := newTCP(src, dst, scriptFlags(w[2]), seq, ack)
	for _, o := range w[3:] {
		if ttl, ok := strings.CutPrefix(o, "ttl"); ok {
			p, _ := parse(f)
			for p.ttl() > int(atoi(ttl)) {
				p.hop()
			}
		}
	}
	return f
}

// number reads a sequence number.
func (s *transcript) number(w string) uint32 {
	w, shifted := strings.CutSuffix(w, "+d")
	n, err := strconv.ParseUint(w, 10, 32)
	if err != nil {
		s.t.Fatal(err)
	}
	if shifted {
		for _, m := range s.nat.mappings {
			for _, x := range m.sessions {
				n += uint64(x.shift)
			}
		}
	}
	return uint32(n)
}

func atoi(s string) byte {
	n, _ := strconv.Atoi(s)
	return byte(n)
}

func scriptFlags(s string) (f TCPFlags) {
	for _, c := range s {
		f |= map[rune]TCPFlags{'F': FIN, 'S': SYN, 'R': RST, '.': ACK}[c]
	}
	return f
}

func (s *transcript) endpoint(w string) netip.AddrPort {
	host, port, _ := strings.Cut(w, ":")
	if v, ok := s.ports[port]; ok {
		port = v
	}
	n, _ := strconv.Atoi(port)
	return netip.AddrPortFrom(scriptNames[host], uint16(n))
}

func (s *transcript) render(out []emit) string {
	var all []string
	for _, e := range out {
		p, ok := parse(e.f)
		if !ok {
			s.t.Fatalf("malformed frame %x", e.f)
		}
		if err := verify(e.f); err != nil {
			s.t.Error(err)
		}
		all = append(all, direction(e)+" "+s.describe(&p))
	}
	if all == nil {
		return "nothing"
	}
	return strings.Join(all, " + ")
}

func direction(e emit) string {
	if e.inside {
		return "in"
	}
	return "out"
}

func (s *transcript) describe(p *packet) string {
	switch {
	case p.proto == protoTCP && s.numbers && p.flags()&ACK != 0:
		return fmt.Sprintf("%s %s %v %d %d", short(p.src), short(p.dst), p.flags(), p.seq(), p.ack())
	case p.proto == protoTCP && s.numbers:
		return fmt.Sprintf("%s %s %v %d", short(p.src), short(p.dst), p.flags(), p.seq())
	case p.proto == protoTCP:
		return fmt.Sprintf("%s %s %v", short(p.src), short(p.dst), p.flags())
	case p.echo():
		return fmt.Sprintf("%s %s echo%d %d", short(p.src), short(p.dst), p.l4[0], p.echoID())
	}
	ip, l4, _ := splitIPv4(p.l4[quoteAt:])
	src, dst := endpoints(ip, l4, protoTCP)
	text := fmt.Sprintf("%s %s icmp%d %s %s", short(p.src), short(p.dst), p.l4[0], short(src), short(dst))
	if s.numbers {
		text += fmt.Sprint(" ", binary.BigEndian.Uint32(l4[4:]))
	}
	return text
}

func short(a netip.AddrPort) string {
	for n, known := range scriptNames {
		if known == a.Addr() && a.Port() == 0 {
			return n
		} else if known == a.Addr() {
			return fmt.Sprint(n, ":", a.Port())
		}
	}
	return a.String()
}

// matches compares word by word, and binds or resolves $ports.
func (s *transcript) matches(got, want string) bool {
	g, w := strings.Fields(got), strings.Fields(want)
	if len(g) != len(w) {
		return false
	}
	for i := range w {
		host, v, isVar := strings.Cut(w[i], ":$")
		if strings.HasSuffix(w[i], "+d") {
			w[i] = strconv.FormatUint(uint64(s.number(w[i])), 10)
		}
		if !isVar {
			if g[i] != w[i] {
				return false
			}
			continue
		}
		gotHost, gotPort, _ := strings.Cut(g[i], ":")
		if bound, ok := s.ports["$"+v]; gotHost != host || ok && bound != gotPort {
			return false
		}
		s.ports["$"+v] = gotPort
	}
	return true
}

// verify computes checksums independently of the code under test: adding word by word with an end-around carry each time.
func verify(f frame) error {
	ip := f[vnetLen:]
	ihl, total := int(ip[0]&15)*4, int(ip[2])<<8|int(ip[3])
	if s := onesSum(ip[:ihl]); s != 0xffff {
		return fmt.Errorf("header checksum is wrong: sum %#x of %x", s, ip)
	}
	l4 := ip[ihl:total]
	if ip[9] == protoTCP {
		pseudo := append(append([]byte{}, ip[12:20]...), 0, protoTCP, byte(len(l4)>>8), byte(len(l4)))
		if f[0]&vnetNeedsCsum != 0 {
			if got := uint16(l4[16])<<8 | uint16(l4[17]); got%0xffff != onesSum(pseudo)%0xffff {
				return fmt.Errorf("partial checksum is %#x, want %#x", got, onesSum(pseudo))
			}
			return nil
		}
		l4 = append(pseudo, l4...)
	}
	if s := onesSum(l4); s != 0xffff {
		return fmt.Errorf("checksum is wrong: sum %#x of %x", s, ip)
	}
	return nil
}

func onesSum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		w := uint32(c)
		if i%2 == 0 {
			w <<= 8
		}
		if s += w; s > 0xffff {
			s -= 0xffff
		}
	}
	return uint16(s)
}
