package peer

import (
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

func TestStatus(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	began := time.Now()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}, Expose: map[string]string{"echo": startEcho(t)}})
	a := startNode(t, Config{Server: url, Key: key})
	s, err := a.Dial(within(t, 10*time.Second), b.ID(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	go func() {
		s.Write(make([]byte, size))
		s.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, io.LimitReader(s, size)); n != size {
		t.Fatalf("read %d bytes, %v", n, err)
	}
	for _, n := range []*Node{a, b} {
		eventually(t, "what has left is counted", func() bool { // a write counts when it has returned
			st := n.Status()
			return len(st.Sessions) == 1 && st.Sessions[0].BytesOut >= size
		})
		st := n.Status()
		if st.ID != n.ID() || st.Server != url.HostPort() || !st.Registered || st.Observed != n.Observed() || st.Port != n.Port() || len(st.Sessions) != 1 {
			t.Fatalf("status %+v", st)
		}
		got := st.Sessions[0]
		if got.Streams != 1 || got.Path.Kind != Direct || got.Path.Local.Port() != n.Port() || got.Since.Before(began) || got.Since.After(time.Now()) {
			t.Errorf("session %+v", got)
		}
		for _, bytes := range []uint64{got.BytesIn, got.BytesOut} {
			if bytes < size || bytes > size+size/100 {
				t.Errorf("%d bytes in and %d out, want about %d", got.BytesIn, got.BytesOut, size)
			}
		}
	}
	if got := a.Status().Sessions[0].Peer; got != b.ID() {
		t.Errorf("session with %v", got)
	}
	a.Close()
	if st := a.Status(); st.Registered || len(st.Sessions) != 0 {
		t.Errorf("status of a closed node %+v", st)
	}
}

// The names in the JSON form are what scripts rely on.
func TestStatusJSON(t *testing.T) {
	text, err := json.Marshal(Status{Sessions: []SessionStatus{{}}})
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	names := func(v any) (list []string) {
		for name := range v.(map[string]any) {
			list = append(list, name)
		}
		slices.Sort(list)
		return list
	}
	session := fields["sessions"].([]any)[0].(map[string]any)
	for _, test := range []struct {
		of   any
		want []string
	}{
		{fields, []string{"id", "local", "nat", "not_shared", "observed", "port", "port_mode", "registered", "registered_from", "server", "sessions"}},
		{session, []string{"bytes_in", "bytes_out", "path", "peer", "since", "streams"}},
		{session["path"], []string{"kind", "local", "remote", "rtt_ns"}},
	} {
		if got := names(test.of); !slices.Equal(got, test.want) {
			t.Errorf("fields %v, want %v", got, test.want)
		}
	}
	n, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Host: "h", Port: 1, Key: proto.ID{1}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if st := n.Status(); st.Sessions == nil || st.Port != 0 || st.Observed.IsValid() {
		t.Errorf("before Start: %+v", st)
	}
}
