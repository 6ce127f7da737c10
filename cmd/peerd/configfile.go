package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerd/peerd/cmd/peerd/authorized"
	"github.com/peerd/peerd/proto"
)

// configFile is what a config.toml says.
type configFile struct {
	path   string
	values map[string]fileValue // by key, as in "server" and "serve.listen"
	peers  []petname
}

// fileValue is the value of a key, already in the form that a flag takes.
type fileValue struct {
	list []string // of a flag that may be repeated, any number; otherwise one
	line int
}

// parseConfig parses a file against what the commands take. It finds everything
// that the file has too much of, and otherwise the first mistake; the errors
// name the line.
func parseConfig(path string, data []byte, schema configSchema) (*configFile, error) {
	var content map[string]any
	if err := toml.Unmarshal(data, &content); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, _ := at.Position()
			return nil, fmt.Errorf("%s:%d: %s", path, row, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r := configReader{path: path, schema: schema, lines: keyLines(data), file: &configFile{path: path, values: make(map[string]fileValue)}}
	r.table("", content)
	if len(r.unknown) > 0 {
		return nil, r.complaint()
	}
	return r.file, r.err
}

// configReader goes through a file's content.
type configReader struct {
	path    string
	schema  configSchema
	lines   map[string]int
	file    *configFile
	unknown []string // keys
	err     error    // the first mistake
}

// table reads a table; name is "" for the top level.
func (r *configReader) table(name string, content map[string]any) {
	// In the order of the lines, so that the first mistake is the first one.
	keys := slices.SortedFunc(maps.Keys(content), func(a, b string) int {
		return cmp.Compare(r.lines[join(name, a)], r.lines[join(name, b)])
	})
	for _, k := range keys {
		key := join(name, k)
		sub, isTable := content[k].(map[string]any)
		switch {
		case name == peersTable:
			r.peer(k, content[k])
		case r.schema.flags[key] != nil:
			r.value(key, r.schema.flags[key], content[k])
		case name == "" && r.schema.tables[k]:
			if !isTable {
				r.fail(key, fmt.Errorf("is a table, [%s]", k))
				continue
			}
			r.table(k, sub)
		default:
			r.unknown = append(r.unknown, key)
		}
	}
}

// join returns the key of a table's element; elements of [peers] are names, and
// may have dots themselves.
func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

func (r *configReader) fail(key string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", r.place(key), err)
	}
}

// place names a key and where it stands.
func (r *configReader) place(key string) string {
	return fmt.Sprintf("%s:%d: %s", r.path, r.lines[key], key)
}

func (r *configReader) value(key string, f *pflag.Flag, value any) {
	list, err := flagValues(f, value)
	if err != nil {
		r.fail(key, err)
		return
	}
	r.file.values[key] = fileValue{list, r.lines[key]}
}

// flagValues returns the texts that give a flag a value of the file.
func flagValues(f *pflag.Flag, value any) ([]string, error) {
	_, isList := f.Value.(pflag.SliceValue)
	elements, given := value.([]any)
	switch {
	case isList && !given:
		return nil, fmt.Errorf("is a list of texts in brackets, not %s", kindOf(value))
	case !isList:
		text, ok := flagText(f.Value.Type(), value)
		if !ok || f.Value.Set(text) != nil {
			return nil, fmt.Errorf("is %s, not %s", wanted(f.Value.Type()), kindOf(value))
		}
		return []string{text}, nil
	}
	list := []string{}
	for _, e := range elements {
		text, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("is a list of texts, and %s is none", kindOf(e))
		}
		list = append(list, text)
	}
	return list, nil
}

// flagText returns the text form of a value, if it is of the type that a flag
// has.
func flagText(flagType string, value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, flagType == "string" || flagType == "duration" || flagType == portModeType
	case bool:
		return fmt.Sprint(v), flagType == "bool"
	case int64:
		return fmt.Sprint(v), flagType != "string" && flagType != "duration" && flagType != "bool" && flagType != portModeType
	}
	return "", false
}

// wanted says what values a type of flag takes.
func wanted(flagType string) string {
	switch flagType {
	case "string":
		return "a text in quotes"
	case "duration":
		return `a time such as "30s"`
	case "bool":
		return "true or false"
	case portModeType:
		return "auto, shared, dial-only or sequential"
	case "uint16":
		return fmt.Sprintf("a number from 0 to %d", math.MaxUint16)
	}
	return "a whole number"
}

// kindOf says what a value of the file is.
func kindOf(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the text %q", v)
	case int64, float64, bool:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// peer reads a line of [peers].
func (r *configReader) peer(name string, value any) {
	key := join(peersTable, name)
	if err := authorized.CheckName(name); err != nil {
		r.fail(key, err)
		return
	}
	text, ok := value.(string)
	if !ok {
		r.fail(key, fmt.Errorf("is a peer ID in quotes, not %s", kindOf(value)))
		return
	}
	id, err := proto.ParseID(text)
	if err != nil {
		r.fail(key, fmt.Errorf("%q: %w", text, err))
		return
	}
	r.file.peers = append(r.file.peers, petname{name, id, fmt.Sprintf("%s:%d", r.path, r.lines[key])})
}

// complaint is one line about all keys that nothing takes.
func (r *configReader) complaint() error {
	var parts []string
	for _, key := range r.unknown {
		parts = append(parts, fmt.Sprintf("%s:%d: unknown key %q%s", r.path, r.lines[key], key, r.schema.suggestion(key)))
	}
	return errors.New(strings.Join(parts, "; "))
}

// keyLines returns the line of every key in a file that is known to be right.
func keyLines(data []byte) map[string]int {
	var p unstable.Parser
	p.Reset(data)
	lines, table := make(map[string]int), ""
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = noteKey(&p, lines, "", e)
		case unstable.KeyValue:
			noteValue(&p, lines, table, e)
		}
	}
	return lines
}

func noteValue(p *unstable.Parser, lines map[string]int, table string, e *unstable.Node) {
	key := noteKey(p, lines, table, e)
	if e.Value().Kind != unstable.InlineTable {
		return
	}
	for it := e.Value().Children(); it.Next(); {
		if it.Node().Kind == unstable.KeyValue {
			noteValue(p, lines, key, it.Node())
		}
	}
}

// noteKey notes the line of a key, and of the tables that it is the first to
// name.
func noteKey(p *unstable.Parser, lines map[string]int, key string, e *unstable.Node) string {
	for it := e.Key(); it.Next(); {
		key = join(key, string(it.Node().Data))
		if lines[key] == 0 {
			lines[key] = p.Shape(it.Node().Raw).Start.Line
		}
	}
	return key
}

// configSchema is what a file may have: the flags of the commands.
type configSchema struct {
	flags  map[string]*pflag.Flag // by key
	tables map[string]bool
}

// peersTable holds petnames.
const peersTable = "peers"

// sharedFlags are flags of some commands that stand at the top level.
var sharedFlags = []string{"local-port", portModeName, noGuessName, "expose", "allow", "stun"}

// schemaOf returns what a file may have. Each command that has settable flags
// of its own has a table, in which the flags of all commands may stand, too:
// there they are meant for this command only.
func schemaOf(root *cobra.Command) configSchema {
	s := configSchema{flags: make(map[string]*pflag.Flag), tables: map[string]bool{peersTable: true}}
	add := func(table string) func(*pflag.Flag) {
		return func(f *pflag.Flag) {
			if isSetting(f) {
				s.flags[join(table, f.Name)] = f
			}
		}
	}
	root.PersistentFlags().VisitAll(add(""))
	for _, cmd := range root.Commands() {
		before := len(s.flags)
		cmd.LocalNonPersistentFlags().VisitAll(add(cmd.Name()))
		for _, name := range sharedFlags {
			if f := cmd.LocalNonPersistentFlags().Lookup(name); f != nil {
				add("")(f)
			}
		}
		if len(s.flags) > before {
			s.tables[cmd.Name()] = true
			root.PersistentFlags().VisitAll(add(cmd.Name()))
		}
	}
	return s
}

// suggestion says what an unknown key may have been meant to be.
func (s configSchema) suggestion(key string) string {
	table, name, inTable := strings.Cut(key, ".")
	if !inTable {
		table, name = "", key
	}
	var places []string
	for known := range s.flags {
		if t, n, ok := strings.Cut(known, "."); ok && n == name {
			places = append(places, "["+t+"]")
		}
	}
	if len(places) > 0 && !inTable {
		slices.Sort(places)
		return fmt.Sprintf(", which belongs into %s", strings.Join(slices.Compact(places), " or "))
	}
	like := nearest(name, slices.Collect(s.keys(table)))
	if len(like) == 0 {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", join(table, like[0]))
}

// keys returns the names that a table takes.
func (s configSchema) keys(table string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for known := range s.flags {
			rest, in := strings.CutPrefix(known, join(table, ""))
			if in && !strings.Contains(rest, ".") && !yield(rest) {
				return
			}
		}
		for t := range s.tables {
			if table == "" && !yield(t) {
				return
			}
		}
	}
}
