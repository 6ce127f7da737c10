package main

import (
	"strings"
	"testing"

	"github.com/peerd/peerd/cmd/peerd/authorized"
	"github.com/peerd/peerd/proto"
)

func testSchema() configSchema { return schemaOf(new(program).rootCommand()) }

func TestSchema(t *testing.T) {
	s := testSchema()
	for _, key := range []string{"server", "state-dir", "log-level", "log-format", "local-port", "expose", "allow", "serve.listen", "serve.probe-listen", "serve.public-addr", "nc.timeout", "run.expose"} {
		if s.flags[key] == nil {
			t.Errorf("no key %s", key)
		}
	}
	for _, key := range []string{"config", "json", "verbose", "help", "listen", "timeout", "allow.name", "allow.permit-open"} {
		if s.flags[key] != nil {
			t.Errorf("there is a key %s", key)
		}
	}
	if s.tables["allow"] || s.tables["id"] || !s.tables["serve"] {
		t.Errorf("tables: %v", s.tables)
	}
}

// Every key of a file that is taken is one of the schema and has a line.
func FuzzParseConfig(f *testing.F) {
	f.Add("server = \"x\"\nexpose = ['22']\n[serve]\nlisten = ':1' # c\n[peers]\na.b = 1\n\"c.d\" = \"" + proto.ID{1}.String() + "\"\n")
	f.Add("serve = { listen = ':1' }\nserve.x.y = 1\n[[run]]\n'' = 1979-05-27\n")
	schema := testSchema()
	f.Fuzz(func(t *testing.T, text string) {
		file, err := parseConfig("file", []byte(text), schema)
		if err != nil {
			return
		}
		for key, v := range file.values {
			if schema.flags[key] == nil || v.line < 1 {
				t.Errorf("key %q in line %d", key, v.line)
			}
			if many := schema.flags[key].Value.Type() == "stringArray"; !many && len(v.list) != 1 {
				t.Errorf("key %q has the values %q", key, v.list)
			}
		}
		for _, n := range file.peers {
			if authorized.CheckName(n.name) != nil || strings.HasSuffix(n.place, ":0") {
				t.Errorf("name %q, place %s", n.name, n.place)
			}
		}
	})
}
