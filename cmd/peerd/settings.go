package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerd/peerd/cmd/peerd/ownfile"
)

// A setting comes from the flag, or else from the environment, or else from the
// configuration file, or else it has its default.

// settings is where the values of a command's flags come from.
type settings struct {
	path    string            // of the configuration file; "" if there can be none
	exists  bool              // whether there is one
	file    configFile        // what it says
	origins map[string]string // what gave a flag its value, for errors; not there for the command line
}

// The files beside each other.
const (
	configName     = "config.toml"
	authorizedName = "authorized_peers"
)

// once marks flags that say what a command is to do this time, and so stand on
// the command line only.
func once(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.SetAnnotation(name, onceKey, nil)
	}
}

const onceKey = "peerd once"

// isSetting reports whether a flag may be set by the environment and the
// configuration file.
func isSetting(f *pflag.Flag) bool {
	_, is := f.Annotations[onceKey]
	return !is && f.Name != "help"
}

// variable returns the environment variable that stands for a flag.
func variable(flag string) string {
	return "PEERD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// describeVariables adds to the help of each flag which variable stands for it.
func describeVariables(root *cobra.Command) {
	describe := func(f *pflag.Flag) {
		if isSetting(f) {
			f.Usage += " [$" + variable(f.Name) + "]"
		}
	}
	root.PersistentFlags().VisitAll(describe)
	for _, cmd := range root.Commands() {
		cmd.LocalNonPersistentFlags().VisitAll(describe)
	}
}

// loadSettings reads the configuration file and gives the command's flags the
// values that the command line does not.
func (p *program) loadSettings(cmd *cobra.Command) error {
	s := settings{origins: make(map[string]string)}
	// The file's values are tried on flags of a tree of their own.
	trial := program{stdin: p.stdin, stdout: p.stdout, screen: p.screen}
	if err := s.read(p.configFlag, schemaOf(trial.rootCommand())); err != nil {
		return err
	}
	p.settings = s
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed && isSetting(f) && !p.outranks(cmd, f.Name) {
			errs = append(errs, p.settings.apply(cmd.Name(), f))
		}
	})
	return errors.Join(errs...)
}

// outranks reports whether the command line says something that a flag's value
// from elsewhere would contradict.
func (p *program) outranks(cmd *cobra.Command, flag string) bool {
	return flag == "log-level" && (p.verbose || p.quiet)
}

// read finds and reads the file. One that is named must exist.
func (s *settings) read(flag string, schema configSchema) error {
	var named string
	s.path, named = flag, "--config"
	if s.path == "" {
		s.path, named = os.Getenv("PEERD_CONFIG"), "PEERD_CONFIG"
	}
	if s.path == "" {
		s.path, named = defaultConfig(), ""
	}
	if s.path == "" {
		return nil
	}
	data, _, err := ownfile.Read(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && named == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no file %s; create it, or correct the path", named, s.path)
	case err != nil:
		return fmt.Errorf("configuration file: %w", err)
	}
	file, err := parseConfig(s.path, data, schema)
	if err != nil {
		return err
	}
	s.file, s.exists = *file, true
	return nil
}

// defaultConfig returns where the configuration file is looked for, or "" if
// there is no such place.
func defaultConfig() string {
	// A relative path is invalid and to be ignored (XDG base directories).
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "peerd", configName)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config", "peerd", configName)
}

// apply gives a flag the value that it has for a command.
func (s *settings) apply(command string, f *pflag.Flag) error {
	many, isList := f.Value.(pflag.SliceValue)
	list, origin := s.lookup(command, f.Name, isList)
	if origin == "" {
		return nil
	}
	s.origins[f.Name] = origin
	if isList {
		return many.Replace(list)
	}
	if err := f.Value.Set(list[0]); err != nil {
		return fmt.Errorf("%s is %s, not %q", origin, wanted(f.Value.Type()), list[0])
	}
	return nil
}

// lookup returns what the environment or else the file says about a flag, and
// where; the origin is "" if they say nothing. An empty variable says nothing.
func (s *settings) lookup(command, flag string, isList bool) (list []string, origin string) {
	if text := os.Getenv(variable(flag)); text != "" {
		if isList {
			return strings.Split(text, ","), variable(flag)
		}
		return []string{text}, variable(flag)
	}
	for _, key := range []string{join(command, flag), flag} {
		if v, ok := s.file.values[key]; ok {
			return v.list, fmt.Sprintf("%s:%d: %s", s.path, v.line, key)
		}
	}
	return nil, ""
}

// list returns a setting that is a list, whether or not the command has a flag
// for it.
func (s *settings) list(cmd *cobra.Command, flag string) []string {
	if f := cmd.Flags().Lookup(flag); f != nil {
		return f.Value.(pflag.SliceValue).GetSlice()
	}
	list, origin := s.lookup(cmd.Name(), flag, true)
	if origin != "" {
		s.origins[flag] = origin
	}
	return list
}

// origin names what gave a flag its value: the flag itself, a variable, or a
// line of the file.
func (s *settings) origin(flag string) string {
	if origin := s.origins[flag]; origin != "" {
		return origin
	}
	return "--" + flag
}

// beside returns the path of a file in the configuration's directory.
func (s *settings) beside(name string) (string, error) {
	if s.path == "" {
		return "", fmt.Errorf("no configuration directory: set --config, PEERD_CONFIG or HOME")
	}
	return filepath.Join(filepath.Dir(s.path), name), nil
}
