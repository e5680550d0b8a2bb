// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file, bytes.
const maxFile = 1 << 20

// Read sets the flags that a YAML file names and the command line did not.
func Read(path string, flags *pflag.FlagSet) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if info.Size() > maxFile {
		return fmt.Errorf("read the configuration: %s: %d bytes, at most %d allowed", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(document.Content) == 0 {
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: a mapping of settings is expected", path, root.Line)
	}
	var errs []error
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if seen[key.Value] {
			errs = append(errs, fmt.Errorf("%s:%d: %s is set twice", path, key.Line, key.Value))
			continue
		}
		seen[key.Value] = true
		if err := set(flags, key.Value, value); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", path, key.Line, err))
		}
	}
	return errors.Join(errs...)
}

// set gives one flag its value, unless the command line has.
func set(flags *pflag.FlagSet, name string, value *yaml.Node) error {
	flag := flags.Lookup(name)
	if flag == nil || name == "config" || name == "help" {
		return fmt.Errorf("unknown setting %q; known: %s", name, strings.Join(known(flags), ", "))
	}
	text, err := scalar(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if flag.Changed {
		return nil
	}
	if err := flag.Value.Set(text); err != nil {
		return fmt.Errorf("%s: %q: %w", name, text, err)
	}
	return nil
}

// scalar gives a value as the text of a flag; the items of a list are joined by commas.
func scalar(value *yaml.Node) (string, error) {
	switch value.Kind {
	case yaml.ScalarNode:
		return value.Value, nil
	case yaml.SequenceNode:
		items := make([]string, 0, len(value.Content))
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode {
				return "", errors.New("a list of plain values is expected")
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	default:
		return "", errors.New("a value or a list is expected")
	}
}

func known(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return names
}
