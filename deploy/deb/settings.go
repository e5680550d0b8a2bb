// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// setting is a flag as a program's help tells it.
type setting struct {
	name, usage string
	// value is the default; placeholder stands for the value where there is no default.
	value, placeholder string
}

// flagLine is a line of the help: the flag, what its value is called, the usage and the default.
var flagLine = regexp.MustCompile(`^ +(?:-[A-Za-z], )?--([a-z0-9-]+)(?: (\S+))?  +(.*?)(?: \(default (.*)\))?$`)

// noSettings are flags that a file of settings cannot have.
var noSettings = map[string]bool{"help": true, "config": true, "version": true}

// zero are the defaults that the help leaves out, by the type that it names then.
var zero = map[string]string{"": "false", "duration": "0s", "int": "0", "uint32": "0", "string": `""`}

// settings is the text of the package's file of settings: each that the program has, with what it means and its default,
// as a comment, but for the active ones.
func (p *debian) settings(ctx context.Context, native string) (string, error) {
	program := filepath.Join(native, p.programs[0])
	help, err := exec.CommandContext(ctx, program, p.command, "--help").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its settings: %w", program, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("learn the name of this machine, to leave it out: %w", err)
	}
	list := parseHelp(string(help), host)
	if len(list) == 0 {
		return "", fmt.Errorf("%s %s --help names no settings", program, p.command)
	}
	return p.write(list)
}

// parseHelp finds the settings in a program's help. A default that is the name of this machine is none.
func parseHelp(help, host string) []setting {
	var list []setting
	for line := range strings.Lines(help) {
		m := flagLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil || noSettings[m[1]] {
			continue
		}
		s := setting{name: m[1], placeholder: m[2], usage: m[3], value: strings.Trim(m[4], `"`)}
		if s.value == host {
			s.value = ""
		}
		if s.value == "" {
			s.value = zero[s.placeholder]
		}
		list = append(list, s)
	}
	return list
}

func (p *debian) write(list []setting) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "# Settings of %s, as %s %s --help tells them. What begins with # is the default;\n"+
		"# <WORD> stands for a value where there is no default. After a change: systemctl restart %s\n",
		p.name, p.programs[0], p.command, p.name)
	set := 0
	for _, s := range list {
		text.WriteString("\n")
		for _, line := range wrap(s.usage, 100) {
			text.WriteString("# " + line + "\n")
		}
		switch value, active := p.active[s.name]; {
		case active:
			set++
			text.WriteString(s.name + ": " + value + "\n")
		case s.value != "":
			text.WriteString("#" + s.name + ": " + s.value + "\n")
		default:
			text.WriteString("#" + s.name + ": <" + s.placeholder + ">\n")
		}
	}
	if set != len(p.active) {
		return "", errors.New("the package sets a setting that the program does not have")
	}
	return text.String(), nil
}

// wrap breaks a text into lines of words, width characters at most.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
