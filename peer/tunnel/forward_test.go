package tunnel

import "testing"

func TestParseLocal(t *testing.T) {
	for text, want := range map[string]Forward{
		"2222:22":                       {Bind{Port: 2222}, "22"},
		"0:22":                          {Bind{}, "22"},
		"8080:web":                      {Bind{Port: 8080}, "web"},
		"8080:localhost:80":             {Bind{Port: 8080}, "localhost:80"},
		"8080:[2001:db8::1]:80":         {Bind{Port: 8080}, "[2001:db8::1]:80"},
		"127.0.0.1:8080:80":             {Bind{Host: "127.0.0.1", Port: 8080}, "80"},
		"localhost:8080:db.lan:5432":    {Bind{Host: "localhost", Port: 8080}, "db.lan:5432"},
		"*:8080:80":                     {Bind{Host: "*", Port: 8080}, "80"},
		":8080:80":                      {Bind{Host: "*", Port: 8080}, "80"},
		"[::1]:8080:80":                 {Bind{Host: "::1", Port: 8080}, "80"},
		"[::1]:8080:[::1]:80":           {Bind{Host: "::1", Port: 8080}, "[::1]:80"},
		"2375:/run/docker.sock":         {Bind{Port: 2375}, "unix:/run/docker.sock"},
		"2375:unix:/run/docker.sock":    {Bind{Port: 2375}, "unix:/run/docker.sock"},
		"/tmp/s:22":                     {Bind{Path: "/tmp/s"}, "22"},
		"./s:/run/with:colon":           {Bind{Path: "./s"}, "unix:/run/with:colon"},
		"unix:s:web":                    {Bind{Path: "s"}, "web"},
		`/tmp/a\:b:22`:                  {Bind{Path: "/tmp/a:b"}, "22"},
		"[fe80::1%eth0]:80:[::1%lo]:80": {Bind{Host: "fe80::1%eth0", Port: 80}, "[::1%lo]:80"},
	} {
		if got, err := ParseLocal(text); err != nil || got != want {
			t.Errorf("ParseLocal(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestParseLocalRefuses(t *testing.T) {
	for _, text := range []string{
		"", "22", "2222:", ":22", "65536:22", "2222:0", "2222:65536", "host:22", "a:b:c", "[::1]8080:80", "::1:8080:80",
		"[::1:8080:80", "2222:unix:relative", "2222:host:", "2222::80", "2222:host:port", "2222:two words",
		"/tmp/s", "unix::22", "a:22", "0:-5", "2222:a:b:80", "-1:22", "+1:22", "bad*host:1:2", "2222:new\nline", "2222:unix:/new\nline",
	} {
		if got, err := ParseLocal(text); err == nil {
			t.Errorf("ParseLocal(%q) = %+v, want an error", text, got)
		}
	}
}

func TestParseRemoteWantsATargetHere(t *testing.T) {
	for _, text := range []string{"8080:3000", "8080:localhost:3000", "/run/s:/tmp/s", "*:0:[::1]:3000"} {
		if _, err := ParseRemote(text); err != nil {
			t.Errorf("ParseRemote(%q): %v", text, err)
		}
	}
	if got, err := ParseRemote("8080:web"); err == nil {
		t.Errorf(`ParseRemote("8080:web") = %+v, want an error: no names here`, got)
	}
}

func TestParseDynamic(t *testing.T) {
	for text, want := range map[string]Bind{
		"1080": {Port: 1080}, "0": {}, "*:1080": {Host: "*", Port: 1080}, ":1080": {Host: "*", Port: 1080},
		"[::1]:1080": {Host: "::1", Port: 1080}, "/tmp/s": {Path: "/tmp/s"}, "unix:/tmp/a:b": {Path: "/tmp/a:b"},
	} {
		if got, err := ParseDynamic(text); err != nil || got.Listen != want || got.Target != "" {
			t.Errorf("ParseDynamic(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "1080:22", "host:", "unix:", "65536"} {
		if got, err := ParseDynamic(text); err == nil {
			t.Errorf("ParseDynamic(%q) = %+v, want an error", text, got)
		}
	}
}

// FuzzForward checks that what is parsed from a forward's text is the forward.
func FuzzForward(f *testing.F) {
	for _, seed := range []string{
		"2222:22", "*:1:web", ":1:[::1]:2", "[::1]:1:a.b:2", `/a\:b\\:22`, "unix:a:/b:c", "1080", "unix:/a:b", "/x", `\:`, "a/b:1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, parse := range map[string]func(string) (Forward, error){
			"ParseLocal": ParseLocal, "ParseRemote": ParseRemote, "ParseDynamic": ParseDynamic,
		} {
			fwd, err := parse(text)
			if err != nil {
				continue
			}
			spec := fwd.String()
			if name == "ParseDynamic" {
				spec = fwd.Listen.String()
			}
			if again, err := parse(spec); err != nil || again != fwd {
				t.Errorf("%s(%q) = %+v, whose text %q gives %+v, %v", name, text, fwd, spec, again, err)
			}
		}
	})
}
