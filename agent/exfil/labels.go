// SPDX-License-Identifier: Apache-2.0

package exfil

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-project/holdfast/agent/dlp"
)

// Bounds of a file of labels.
const (
	maxPatterns   = 256
	maxExceptions = 256
	// maxName is the longest component of a path that the kernel side compares, bytes; ending is how much of the end of
	// a name it does.
	maxName = 47
	ending  = 4
)

// Protected is the label of files that need none: those whose reading a policy asks about.
const Protected = "protected"

// Labels says which files matter, and why. The zero value has none.
type Labels struct {
	patterns   []pattern
	names      []string
	protected  []string
	exceptions []dlp.Exception
}

// pattern is one of a label: files of a name, or whose names end so, in a folder.
type pattern struct {
	label string
	// folder ends with a slash; empty is any.
	folder string
	// name is that of the file, after a star the end of it; a star alone is any.
	name string
}

// document is the file as it is written.
type document struct {
	Labels []struct {
		Label string   `yaml:"label"`
		Paths []string `yaml:"paths"`
	} `yaml:"labels"`
	Exceptions []struct {
		Executable string `yaml:"executable"`
		Host       string `yaml:"host"`
		Detector   string `yaml:"detector"`
	} `yaml:"exceptions"`
}

// ParseLabels reads a file of labels and of what may be sent all the same. The error names the file and each entry that is
// not well-formed.
func ParseLabels(file string, text []byte) (*Labels, error) {
	var d document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	l := &Labels{}
	var errs []error
	for i, of := range d.Labels {
		if of.Label == "" || len(of.Paths) == 0 {
			errs = append(errs, fmt.Errorf("%s: labels[%d]: a label and paths are needed", file, i))
		}
		for _, path := range of.Paths {
			if err := l.add(of.Label, path); err != nil {
				errs = append(errs, fmt.Errorf("%s: labels[%d]: path %q: %w", file, i, path, err))
			}
		}
	}
	for i, e := range d.Exceptions {
		if e.Executable == "" && e.Host == "" && e.Detector == "" {
			errs = append(errs, fmt.Errorf("%s: exceptions[%d]: an executable, a host or a detector is needed", file, i))
		}
		if e.Executable != "" && e.Executable[0] != '/' {
			errs = append(errs, fmt.Errorf("%s: exceptions[%d]: executable %q: it begins with /", file, i, e.Executable))
		}
		if strings.ContainsAny(e.Host, "*/") || strings.LastIndexByte(e.Host, ':') > strings.LastIndexByte(e.Host, ']') {
			errs = append(errs, fmt.Errorf("%s: exceptions[%d]: host %q: a name, or with a dot before it all names below, without a port", file, i, e.Host))
		}
		l.exceptions = append(l.exceptions, dlp.Exception{Executable: e.Executable, Host: e.Host, Detector: e.Detector})
	}
	if len(l.patterns) > maxPatterns || len(l.exceptions) > maxExceptions {
		errs = append(errs, fmt.Errorf("%s: %d paths and %d exceptions: at most %d and %d are held", file, len(l.patterns), len(l.exceptions), maxPatterns, maxExceptions))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return l, nil
}

// add takes a pattern. What it can say is what the kernel side can ask at an open without a path.
func (l *Labels) add(label, path string) error {
	at := strings.LastIndexByte(path, '/')
	if at < 0 || path[0] != '/' && !strings.HasPrefix(path, "**/") {
		return errors.New("it begins with / or **/")
	}
	p := pattern{label: label, folder: path[:at+1], name: path[at+1:]}
	if p.folder == "**/" {
		p.folder = ""
	}
	if p.name == "" {
		p.name = "*"
	}
	if strings.Contains(p.folder, "*") {
		return errors.New("a star stands at the begin of the last component, or ** for all folders above it")
	}
	watched := p.name
	switch end, starred := strings.CutPrefix(p.name, "*"); {
	case strings.Contains(end, "*"):
		return errors.New("but for the begin of the last component, a star stands nowhere")
	case starred && end == "":
		above := strings.TrimSuffix(p.folder, "/")
		if watched = above[strings.LastIndexByte(above, '/')+1:]; watched == "" {
			return errors.New("all files of a folder need its name")
		}
	case starred && len(end) < ending:
		return fmt.Errorf("after a star stand at least %d characters, such as *.csv", ending)
	case starred:
		watched = "*" + end[len(end)-ending:]
	}
	if len(watched) > maxName {
		return fmt.Errorf("a name has at most %d characters", maxName)
	}
	l.patterns = append(l.patterns, p)
	if !slices.Contains(l.names, watched) {
		l.names = append(l.names, watched)
	}
	return nil
}

// Names are those of files and folders whose opening the kernel side has to tell, as sensor.WatchName takes them.
func (l *Labels) Names() []string { return l.names }

// Exceptions are what may be sent all the same.
func (l *Labels) Exceptions() []dlp.Exception { return l.exceptions }

// Protect takes the names of files that have the label Protected: of files, of the folders they are in, or after a star the
// end of a file's name. They are watched without this.
func (l *Labels) Protect(names []string) { l.protected = names }

// protects reports whether a file has one of the protected names.
func (l *Labels) protects(path string) bool {
	at := strings.LastIndexByte(path, '/') + 1
	above, name := strings.TrimSuffix(path[:at], "/"), path[at:]
	above = above[strings.LastIndexByte(above, '/')+1:]
	return slices.ContainsFunc(l.protected, func(of string) bool {
		end, starred := strings.CutPrefix(of, "*")
		return of == name || of == above || starred && len(name) > len(end) && strings.HasSuffix(name, end)
	})
}

// Of is the label of a file; false if it has none.
func (l *Labels) Of(path string) (label string, labelled bool) {
	at := strings.LastIndexByte(path, '/') + 1
	folder, name := path[:at], path[at:]
	for i := range l.patterns {
		p := &l.patterns[i]
		if p.folder != "" && p.folder != folder {
			continue
		}
		if end, starred := strings.CutPrefix(p.name, "*"); p.name == name || starred && strings.HasSuffix(name, end) {
			return p.label, true
		}
	}
	return "", false
}
