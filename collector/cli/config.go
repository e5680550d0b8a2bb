// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/holdfast-project/holdfast/collector/term"
)

// maxConfigBytes and maxTokenBytes bound what is read from the files that the user names.
const (
	maxConfigBytes = 64 << 10
	maxTokenBytes  = 16 << 10
)

// flags are those that every command has. Empty means not given.
type flags struct {
	config, address, ca, tokenFile, output, color string
}

func (f *flags) register(root *cobra.Command) {
	set := root.PersistentFlags()
	set.StringVar(&f.address, "address", "", "`HOST:PORT` of the collector's HTTP API (HOLDFAST_ADDRESS)")
	set.StringVar(&f.ca, "ca", "", "`FILE` with the CA certificate of the collector, PEM (HOLDFAST_CA); the system's CAs without it")
	set.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the API token (HOLDFAST_TOKEN holds the token itself)")
	set.StringVar(&f.config, "config", "", "YAML `FILE` with these settings by the same names (HOLDFAST_CONFIG)")
	set.StringVarP(&f.output, "output", "o", "", "output `FORMAT`: table, wide or json, one object a line (default table)")
	set.StringVar(&f.color, "color", "", "colours: auto, always or never; NO_COLOR is obeyed (default auto)")
	complete := func(values ...string) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values, cobra.ShellCompDirectiveNoFileComp
		}
	}
	// The only error is a flag that does not exist.
	_ = root.RegisterFlagCompletionFunc("output", complete(formatTable, formatWide, formatJSON))
	_ = root.RegisterFlagCompletionFunc("color", complete(colorAuto, colorAlways, colorNever))
}

// settings is the configuration file, and what flags, environment and file make together. A file has the keys of the
// flags and no others.
type settings struct {
	Address, CA, TokenFile, Output, Color string

	token string
}

// The output formats and the colour modes.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	// formatYAML is for profiles, which are files.
	formatYAML = "yaml"

	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

// settings joins flags, environment and configuration file, in this order of strength, and checks the result. The output
// formats are those that every command has, and also what only this one has. Where the
// collector is, and who asks, is checked only once a command asks for it.
func (a *app) settings(also ...string) (settings, error) {
	s, err := a.readConfig()
	if err != nil {
		return settings{}, err
	}
	for _, given := range []struct {
		to    *string
		value string
	}{
		{&s.Address, a.env.Getenv("HOLDFAST_ADDRESS")},
		{&s.CA, a.env.Getenv("HOLDFAST_CA")},
		{&s.Address, a.flags.address},
		{&s.CA, a.flags.ca},
		{&s.Output, a.flags.output},
		{&s.Color, a.flags.color},
	} {
		if given.value != "" {
			*given.to = given.value
		}
	}
	if s.token = strings.TrimSpace(a.env.Getenv("HOLDFAST_TOKEN")); s.token != "" {
		s.TokenFile = ""
	}
	if a.flags.tokenFile != "" {
		s.token, s.TokenFile = "", a.flags.tokenFile
	}
	if s.Output == "" {
		s.Output = formatTable
	}
	if s.Color == "" {
		s.Color = colorAuto
	}
	if err := oneOf("--output", s.Output, append([]string{formatTable, formatWide, formatJSON}, also...)...); err != nil {
		return settings{}, err
	}
	return s, oneOf("--color", s.Color, colorAuto, colorAlways, colorNever)
}

func oneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return advise(ExitUsage, fmt.Errorf("%s %q is none of %s", name, value, strings.Join(allowed, ", ")),
		"See 'holdfast --help'.")
}

// readConfig reads the configuration file: the one named, which must exist, or the one in the usual place, which may.
func (a *app) readConfig() (settings, error) {
	path, named := a.flags.config, true
	if path == "" {
		path = a.env.Getenv("HOLDFAST_CONFIG")
	}
	if path == "" {
		if path, named = a.usualConfig(), false; path == "" {
			return settings{}, nil
		}
	}
	text, err := readFile(path, maxConfigBytes)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return settings{}, nil
	}
	if err != nil {
		return settings{}, advise(ExitUsage, fmt.Errorf("configuration: %w", err), "--config or HOLDFAST_CONFIG names this file.")
	}
	s, err := parseConfig(text)
	if err != nil {
		return settings{}, advise(ExitUsage, fmt.Errorf("configuration %s: %w", path, err),
			"The keys of this file are address, ca, token-file, output and color.")
	}
	return s, nil
}

// parseConfig reads a configuration file: a mapping of the known keys to text. It reports everything that is wrong.
func parseConfig(text []byte) (settings, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return settings{}, err
	}
	if len(document.Content) == 0 {
		return settings{}, nil // Nothing but comments.
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return settings{}, fmt.Errorf("line %d: not a mapping of keys to values", root.Line)
	}
	var s settings
	keys := map[string]*string{
		"address": &s.Address, "ca": &s.CA, "token-file": &s.TokenFile, "output": &s.Output, "color": &s.Color,
	}
	var problems []string
	for pair := range slices.Chunk(root.Content, 2) {
		key, value := pair[0], pair[1]
		to, known := keys[key.Value]
		switch {
		case !known:
			problems = append(problems, fmt.Sprintf("line %d: unknown key %q", key.Line, key.Value))
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
			problems = append(problems, fmt.Sprintf("line %d: %s wants a text", value.Line, key.Value))
		case *to != "":
			problems = append(problems, fmt.Sprintf("line %d: %s is given twice", key.Line, key.Value))
		default:
			*to = value.Value
		}
	}
	if len(problems) > 0 {
		return settings{}, errors.New(strings.Join(problems, "; "))
	}
	return s, nil
}

func (a *app) usualConfig() string {
	dir := a.env.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := a.env.Getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "holdfast", "config.yaml")
}

func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, nil
}

// target returns the address of the collector, which must be host and port.
func (s settings) target() (string, error) {
	if s.Address == "" {
		return "", advise(ExitUsage, errors.New("no collector named"), "%s",
			"Say where it is with HOLDFAST_ADDRESS=HOST:PORT, --address HOST:PORT or address: in the configuration file.\n"+
				"It is the address that 'holdfast-collector serve' was given as --http-listen.")
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil || host == "" || port == "" || strings.ContainsAny(s.Address, "/@ ") {
		return "", advise(ExitUsage, fmt.Errorf("address %q is not HOST:PORT", s.Address), "%s",
			"Write it without https:// and with its port, such as collector.example:7480 or [2001:db8::7]:7480.")
	}
	return s.Address, nil
}

// bearer returns the API token.
func (s settings) bearer() (string, error) {
	token := s.token
	if s.TokenFile != "" {
		text, err := readFile(s.TokenFile, maxTokenBytes)
		if err != nil {
			return "", advise(ExitUsage, fmt.Errorf("token: %w", err), "--token-file or the configuration file names this file.")
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return "", advise(ExitUsage, fmt.Errorf("token file %s is empty", s.TokenFile), "%s", tokenAdvice)
		}
	}
	if token == "" {
		return "", advise(ExitRefused, errors.New("no token"), "%s", tokenAdvice)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", advise(ExitUsage, errors.New("the token holds characters that no token has"), "%s", tokenAdvice)
	}
	return token, nil
}

const tokenAdvice = `Make one on the collector's machine and hand it over in HOLDFAST_TOKEN or --token-file FILE:

  holdfast-collector token create --data-dir DIR --role viewer`

// colour says whether stdout gets colours.
func (a *app) colour(s settings) bool {
	switch s.Color {
	case colorAlways:
		return true
	case colorNever:
		return false
	default:
		return a.env.Terminal && a.env.Getenv("NO_COLOR") == "" && a.env.Getenv("TERM") != "dumb"
	}
}

// quote makes text of others fit for advice: escaped, and marked off from the words around it.
func quote(text string) string {
	return `"` + term.Escape(text) + `"`
}
