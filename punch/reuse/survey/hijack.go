package survey

import "fmt"

// hijack lets another process listen on the port of a listener here.
func (q *inquiry) hijack() error {
	if err := q.hijackAs("the same user", ""); err != nil {
		return err
	}
	if why := otherUser(); why != "" {
		q.skip("another user", why)
		return nil
	}
	return q.hijackAs("another user", "other")
}

func (q *inquiry) hijackAs(who, order string) error {
	p, err := q.startRival()
	if err != nil {
		return err
	}
	if order != "" {
		_, err = p.ask(order)
	}
	if _, ok := err.(*refusal); ok {
		q.skip(who, err.Error())
		return p.stop()
	}
	if err == nil {
		err = q.hijackBy(p, who)
	}
	if serr := p.stop(); err == nil {
		err = serr
	}
	return err
}

func (q *inquiry) hijackBy(p *process, who string) error {
	err := pairsOfOptions(func(name string, ours, theirs Options) error {
		return q.try(who+", "+name, p.against(ours, theirs, false))
	})
	if err != nil {
		return err
	}
	variant := fmt.Sprintf("%s, ours pinned, %s", who, pairName(Both, Both))
	if !canPin {
		q.skip(variant, noPin)
		return nil
	}
	return q.try(variant, p.against(Both, Both, true))
}

// against has the process listen on the port of a listener here.
func (p *process) against(ours, theirs Options, pinned bool) attempt {
	return func(b *bench) (result, detail string, err error) {
		l, err := b.victim(Wild4, ours, pinned)
		if err != nil {
			return "", "", say("ours", err)
		}
		defer p.ask("close")
		if _, err := p.ask("listen %d %d", b.number, theirs); err != nil {
			if r, ok := err.(*refusal); ok {
				return "it: " + r.text, "", nil
			}
			return "", "", err
		}
		return b.share(l, func() (int, error) { return p.ask("accepted") }, "it")
	}
}
