// SPDX-License-Identifier: Apache-2.0

package crs

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// Parse reads the settings of an engine from YAML, with the keys paranoia, threshold and exclusions, each of which has rule, path
// and target, as Config and Exclusion have them. An error names the file, and the line of what is unknown or of a wrong type.
func Parse(file string, text []byte) (Config, error) {
	var settings struct {
		Paranoia   int `yaml:"paranoia"`
		Threshold  int `yaml:"threshold"`
		Exclusions []struct {
			Rule   int    `yaml:"rule"`
			Path   string `yaml:"path"`
			Target string `yaml:"target"`
		} `yaml:"exclusions"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&settings); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	cfg := Config{Paranoia: settings.Paranoia, Threshold: settings.Threshold}
	for _, e := range settings.Exclusions {
		cfg.Exclusions = append(cfg.Exclusions, Exclusion{Rule: e.Rule, Path: e.Path, Target: e.Target})
	}
	if err := cfg.Check(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return cfg, nil
}

// Check reports what is out of range, or not well-formed, without building anything.
func (c Config) Check() error {
	if c.Paranoia < 0 || c.Paranoia > 4 {
		return fmt.Errorf("core rule set: paranoia level %d: it is 1 to 4", c.Paranoia)
	}
	if c.Threshold < 0 || c.MaxBody < 0 || c.MaxRules < 0 {
		return errors.New("core rule set: a bound is negative")
	}
	for i, e := range c.Exclusions {
		if err := e.check(); err != nil {
			return fmt.Errorf("core rule set: exclusion %d: %w", i+1, err)
		}
	}
	return nil
}
