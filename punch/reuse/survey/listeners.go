package survey

import (
	"errors"
	"fmt"
	"time"
)

// dials is how many connections are made to see who gets them. That one of two
// who get them by chance gets none happens once in two thousand million times.
const dials = 32

// twoListeners opens two listeners of the port in this process.
func (q *inquiry) twoListeners() error {
	ways := []struct {
		variant       string
		first, second Address
		options       Options
		pinned        bool
	}{
		{"-", Wild4, Wild4, None, false},
		{"A", Wild4, Wild4, Addr, false},
		{"P", Wild4, Wild4, Port, false},
		{"AP", Wild4, Wild4, Both, false},
		{"first pinned, AP", Wild4, Wild4, Both, true},
		{"wildcard then 127.0.0.1, A", Wild4, Loop4, Addr, false},
		{"127.0.0.1 then wildcard, A", Loop4, Wild4, Addr, false},
		{"wildcard then 127.0.0.1, AP", Wild4, Loop4, Both, false},
		{"127.0.0.1 then wildcard, AP", Loop4, Wild4, Both, false},
		{"first pinned, wildcard then 127.0.0.1, AP", Wild4, Loop4, Both, true},
	}
	for _, way := range ways {
		if way.pinned && !canPin {
			q.skip(way.variant, noPin)
			continue
		}
		err := q.try(way.variant, func(b *bench) (string, string, error) {
			first, err := b.victim(way.first, way.options, way.pinned)
			if err != nil {
				return "", "", say("first", err)
			}
			second, err := b.listening(way.second, way.options)
			if err != nil {
				return "", "", say("second", err)
			}
			return b.share(first, func() (int, error) { return b.acceptAll(second) }, "the second")
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const noPin = "this system has nothing like SO_ATTACH_REUSEPORT_CBPF, which on Linux says who gets a connection"

// victim returns a listener, pinned if that is asked for, which has to be done
// before bind.
func (b *bench) victim(at Address, options Options, pinned bool) (socket, error) {
	s, err := b.unbound(at, options)
	if err == nil && pinned {
		err = failed("setsockopt", s.pin())
	}
	if err == nil {
		err = b.bind(s, at)
	}
	if err == nil {
		err = failed("listen", s.listen(backlog))
	}
	return s, err
}

// share makes connections to the port and says how many of them another than
// the first listener got; others returns how many it has had since last asked.
func (b *bench) share(first socket, others func() (int, error), other string) (result, detail string, err error) {
	for range dials {
		s, err := b.add(false, Loop4)
		if err == nil {
			err = b.connect(s, b.here())
		}
		if err != nil {
			return "", "", say("dial", err)
		}
	}
	mine, theirs := 0, 0
	for end := time.Now().Add(patience); mine+theirs < dials && time.Now().Before(end); {
		n, err := b.acceptAll(first)
		if err != nil {
			return "", "", err
		}
		m, err := others()
		if err != nil {
			return "", "", err
		}
		mine, theirs = mine+n, theirs+m
	}
	detail = fmt.Sprintf("%s got %d of %d", other, theirs, dials)
	switch {
	case mine+theirs < dials:
		return "some connections went to nobody", fmt.Sprintf("%s, the first %d", detail, mine), nil
	case theirs == 0:
		return other + " gets none", detail, nil
	case mine == 0:
		return other + " gets all", detail, nil
	}
	return other + " gets some", detail, nil
}

// acceptAll accepts the connections that wait for a listener, and closes them.
func (b *bench) acceptAll(l socket) (n int, err error) {
	for {
		s, err := l.accept()
		if errors.Is(err, errNobody) {
			return n, nil
		}
		if err != nil {
			return n, failed("accept", err)
		}
		n++
		s.lingerFor(0)
		s.close()
	}
}
