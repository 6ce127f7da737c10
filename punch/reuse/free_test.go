package reuse

import (
	"net"
	"strconv"
	"testing"
)

func TestFree(t *testing.T) {
	p, err := Claim(0, Sequential)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Free(); err != nil {
		t.Fatalf("port %d: %v", p.Number(), err)
	}
	// It listens without sharing, as a program does that knows nothing of this.
	l, err := net.Listen("tcp4", ":"+strconv.Itoa(int(p.Number())))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := p.Free(); !IsTupleInUse(err) && !isAny(err, local.portInUse) {
		t.Errorf("with a listener of somebody else: %v", err)
	}
}
