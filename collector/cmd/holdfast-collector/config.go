// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxConfigBytes bounds the file that --config names.
const maxConfigBytes = 256 << 10

// readConfig gives a command the flags that its configuration file holds and the command line does not. A key that no
// command has is an error, so one file can serve all of them; every error of the file is told at once, with its line.
func readConfig(root, cmd *cobra.Command) error {
	path, err := cmd.Flags().GetString("config")
	if err != nil || path == "" {
		return err
	}
	text, err := readFile(path)
	if err != nil {
		return fmt.Errorf("read the file that --config names: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if doc.Kind == 0 {
		return nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: the file is not a mapping of flags to values", path, top.Line)
	}
	known := allFlags(root)
	seen := map[string]bool{}
	var errs []error
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		switch {
		case !known[key.Value]:
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %q", path, key.Line, key.Value))
		case seen[key.Value]:
			errs = append(errs, fmt.Errorf("%s:%d: key %q is there twice", path, key.Line, key.Value))
		default:
			if err := setFlag(cmd.Flags(), key.Value, value); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %s: %w", path, value.Line, key.Value, err))
			}
		}
		seen[key.Value] = true
	}
	return errors.Join(errs...)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfigBytes {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxConfigBytes)
	}
	return text, nil
}

// allFlags are the flags of a command and of those below it, which a file may have.
func allFlags(cmd *cobra.Command) map[string]bool {
	known := map[string]bool{}
	for _, c := range append(cmd.Commands(), cmd) {
		for _, set := range []*pflag.FlagSet{c.LocalNonPersistentFlags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
		}
		if c != cmd {
			for name := range allFlags(c) {
				known[name] = true
			}
		}
	}
	for _, name := range []string{"config", "help", "version"} {
		delete(known, name)
	}
	return known
}

// setFlag sets a flag from a scalar or a list of scalars. One that the command does not have, or that the command line
// has set, is left alone.
func setFlag(flags *pflag.FlagSet, name string, value *yaml.Node) error {
	f := flags.Lookup(name)
	if f == nil || f.Changed {
		return nil
	}
	switch value.Kind {
	case yaml.ScalarNode:
		if value.Tag == "!!null" {
			return errors.New("no value")
		}
		return flags.Set(name, value.Value)
	case yaml.SequenceNode:
		list, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return errors.New("a list, where one value is wanted")
		}
		items := make([]string, 0, len(value.Content))
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode || strings.TrimSpace(item.Value) == "" {
				return errors.New("an item of the list is not a plain value")
			}
			items = append(items, item.Value)
		}
		return list.Replace(items)
	}
	return errors.New("neither a value nor a list of values")
}
