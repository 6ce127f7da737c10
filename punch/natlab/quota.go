package natlab

import (
	"net/netip"
	"time"
)

// synMayLeave takes a SYN from inside off its sender's rate.
func (t *translator) synMayLeave(now time.Time, p *packet) bool {
	if t.cfg.Quota.SYNs == 0 || !p.flags().opens() {
		return true
	}
	inside := p.src.Addr()
	l := t.synRates[inside]
	if l == nil {
		l = &limiter{rate: t.cfg.Quota.SYNs, burst: t.cfg.Quota.Burst}
		t.synRates[inside] = l
	}
	return l.allow(now)
}

// exhausted reports whether an inside address may have no further session, or no further mapping if it needs one for that.
func (t *translator) exhausted(now time.Time, inside netip.Addr, needsMapping bool) bool {
	q := t.cfg.Quota
	if q.Ports == 0 && q.Sessions == 0 {
		return false
	}
	ports, sessions := 0, 0
	for _, m := range t.mappings {
		switch {
		case m.inside.Addr() != inside:
		case !m.live(now):
			t.forget(m)
		default:
			ports, sessions = ports+1, sessions+len(m.sessions)
		}
	}
	return q.Sessions > 0 && sessions >= q.Sessions || q.Ports > 0 && needsMapping && ports >= q.Ports
}
