// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	defaultWindow = 48
	defaultWithin = 40
	maxWithin     = 128
	// maxDetectors bounds a set.
	maxDetectors = 1024
)

// The finders that are code of this package.
const (
	finderEmail = "email"
	finderIBAN  = "iban"
)

// Problem is why one detector of a file is left out.
type Problem struct {
	File     string
	Line     int
	Detector string // its id, if it has one
	Reason   string
}

// Error is "file:line: detector: reason".
func (p Problem) Error() string {
	if p.Detector == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Reason)
	}
	return fmt.Sprintf("%s:%d: detector %s: %s", p.File, p.Line, p.Detector, p.Reason)
}

// Set is a collection of detectors, by id. It is not safe for concurrent changes.
type Set struct{ detectors []Detector }

// Detectors are the detectors in order of their ids. The caller does not change them.
func (s *Set) Detectors() []Detector { return s.detectors }

// Add takes over all of another set; a detector replaces one of the same id.
func (s *Set) Add(other *Set) {
	for _, d := range other.detectors {
		i, ok := slices.BinarySearchFunc(s.detectors, d.ID, func(d Detector, id string) int { return strings.Compare(d.ID, id) })
		if ok {
			s.detectors[i] = d
		} else {
			s.detectors = slices.Insert(s.detectors, i, d)
		}
	}
}

// file is the form of a detector in a file.
type file struct {
	ID, Title, Class, Severity string
	Threshold                  struct {
		Count, Distinct int
		Window          string
	}
	Confidence *struct{ Near, Grouped, Alone *int }
	Bulk       int
	Words      []string
	Window     int
	Tags       []string
	Pattern    list
	Number     list
	Finder     string
	After      []string
	Within     int
	Check      string
	Mask       struct{ First, Last int }
	Inline     bool
}

// list is a text or a list of texts.
type list []string

// UnmarshalYAML takes a text as a list of one.
func (l *list) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = list{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

// Parse reads a file of detectors. The detectors that are wrong are left out, each with a Problem. The error, of the form
// "name:line: reason", says that the file is no file of detectors at all.
func Parse(name string, data []byte) (*Set, []Problem, error) {
	var root yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		return &Set{}, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("%s:%s", name, place(err))
	}
	top := root.Content[0]
	if top.Kind != yaml.MappingNode || len(top.Content) != 2 || top.Content[0].Value != "detectors" ||
		top.Content[1].Kind != yaml.SequenceNode {
		return nil, nil, fmt.Errorf("%s:%d: want detectors, a list, and nothing else", name, top.Line)
	}
	set := &Set{}
	var problems []Problem
	for _, node := range top.Content[1].Content {
		d, err := parseDetector(node)
		d.File, d.Line = name, node.Line
		if err == nil && slices.ContainsFunc(set.detectors, func(o Detector) bool { return o.ID == d.ID }) {
			err = fmt.Errorf("another detector of the file has this id")
		}
		if err == nil && len(set.detectors) == maxDetectors {
			err = fmt.Errorf("more than %d detectors", maxDetectors)
		}
		if err != nil {
			problems = append(problems, Problem{name, node.Line, d.ID, err.Error()})
			continue
		}
		set.Add(&Set{[]Detector{d}})
	}
	return set, problems, nil
}

// place makes the library's "yaml: line 3: reason" ours.
func place(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if line, reason, ok := strings.Cut(rest, ": "); ok {
			return line + ": " + reason
		}
	}
	return "1: " + text
}

// isID reports whether a text can be a detector's id: 2 to 63 small letters, digits and dashes.
func isID(text string) bool {
	for i := range len(text) {
		if b := text[i]; !isLower(b) && !isDigit(b) && (b != '-' || i == 0) {
			return false
		}
	}
	return len(text) >= 2 && len(text) <= 63
}

// isField reports whether a detector has a key.
func isField(key string) bool {
	switch key {
	case "id", "title", "class", "severity", "threshold", "confidence", "bulk", "words", "window", "tags", "pattern", "number",
		"finder", "after", "within", "check", "mask", "inline":
		return true
	}
	return false
}

// parseDetector reads one detector and compiles what finds it.
func parseDetector(node *yaml.Node) (Detector, error) {
	if node.Kind != yaml.MappingNode {
		return Detector{}, fmt.Errorf("is no mapping")
	}
	var f file
	for i := 0; i < len(node.Content); i += 2 {
		if k := node.Content[i]; k.Value == "id" && node.Content[i+1].Kind == yaml.ScalarNode {
			f.ID = node.Content[i+1].Value
		} else if !isField(k.Value) {
			return Detector{ID: f.ID}, fmt.Errorf("line %d: unknown key %q", k.Line, k.Value)
		}
	}
	if err := node.Decode(&f); err != nil {
		return Detector{ID: f.ID}, fmt.Errorf("%s", strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	d := Detector{
		ID: f.ID, Title: f.Title, Class: Class(f.Class), Severity: Severity(f.Severity), Bulk: f.Bulk, Words: f.Words,
		Window: f.Window, Tags: f.Tags, Patterns: f.Pattern, Numbers: f.Number, Finder: f.Finder, After: f.After,
		Within: f.Within, Check: f.Check, First: f.Mask.First, Last: f.Mask.Last, Inline: f.Inline,
	}
	if err := d.levels(&f); err != nil {
		return d, err
	}
	if err := d.verify(); err != nil {
		return d, err
	}
	return d, d.compile()
}

// levels fills in confidences and thresholds.
func (d *Detector) levels(f *file) error {
	d.Confidence = 90
	if len(d.Words) == 0 {
		d.Alone, d.Grouped = 90, 90
	}
	if c := f.Confidence; c != nil {
		for _, x := range []struct {
			from *int
			to   []*uint8
		}{
			{c.Near, []*uint8{&d.Confidence}}, {c.Alone, []*uint8{&d.Alone, &d.Grouped}}, {c.Grouped, []*uint8{&d.Grouped}},
		} {
			if x.from == nil {
				continue
			}
			if *x.from < 0 || *x.from > 100 {
				return fmt.Errorf("confidence %d: want 0 to 100", *x.from)
			}
			for _, to := range x.to {
				*to = uint8(*x.from)
			}
		}
	}
	d.Threshold = Threshold{Count: max(1, f.Threshold.Count), Distinct: f.Threshold.Distinct, Window: 10 * time.Minute}
	if f.Threshold.Count < 0 || f.Threshold.Distinct < 0 {
		return fmt.Errorf("threshold: a count below 0")
	}
	if f.Threshold.Window != "" {
		w, err := time.ParseDuration(f.Threshold.Window)
		if err != nil || w <= 0 {
			return fmt.Errorf("threshold: window %q: want a time such as 10m", f.Threshold.Window)
		}
		d.Threshold.Window = w
	}
	if d.Window == 0 {
		d.Window = defaultWindow
	}
	if d.Within == 0 {
		d.Within = defaultWithin
	}
	if d.Class == "" {
		d.Class = Custom
	}
	if d.Severity == "" {
		d.Severity = Medium
	}
	return nil
}

// verify checks everything but the patterns.
func (d *Detector) verify() error {
	kinds := 0
	for _, has := range []bool{len(d.Patterns) > 0, len(d.Numbers) > 0, d.Finder != ""} {
		if has {
			kinds++
		}
	}
	switch {
	case !isID(d.ID):
		return fmt.Errorf("id %q: want 2 to 63 small letters, digits and dashes", d.ID)
	case !slices.Contains([]Class{Card, Bank, NationalID, Health, Contact, Credential, Key, Label, Custom}, d.Class):
		return fmt.Errorf("unknown class %q", d.Class)
	case !slices.Contains([]Severity{Low, Medium, High, Critical}, d.Severity):
		return fmt.Errorf("unknown severity %q", d.Severity)
	case kinds != 1:
		return fmt.Errorf("want exactly one of pattern, number and finder")
	case d.Finder != "" && d.Finder != finderEmail && d.Finder != finderIBAN:
		return fmt.Errorf("unknown finder %q", d.Finder)
	case len(d.After) > 0 && len(d.Patterns) != 1:
		return fmt.Errorf("after needs one pattern, which is the value's")
	case d.Window < 0 || d.Window > maxWindow:
		return fmt.Errorf("window %d: want 1 to %d", d.Window, maxWindow)
	case d.Within < 0 || d.Within > maxWithin:
		return fmt.Errorf("within %d: want 1 to %d", d.Within, maxWithin)
	case d.Bulk < 0:
		return fmt.Errorf("bulk %d: is below 0", d.Bulk)
	case d.Bulk > 0 && len(d.Numbers) == 0:
		return fmt.Errorf("bulk is for numbers only")
	case d.First < 0 || d.Last < 0 || d.First+d.Last > maxShown:
		return fmt.Errorf("mask: shows more than %d bytes", maxShown)
	case d.Confidence < Reported:
		return fmt.Errorf("confidence %d: below %d nothing is reported", d.Confidence, Reported)
	}
	for _, w := range slices.Concat(d.Words, d.After) {
		if len(w) < 2 || len(w) > maxWord || strings.ContainsFunc(w, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("word %q: want 2 to %d letters of ASCII", w, maxWord)
		}
	}
	for _, w := range d.After {
		if len(w) < minLiteral {
			return fmt.Errorf("after %q: want %d letters or more", w, minLiteral)
		}
	}
	if _, ok := checkTable()[d.Check]; d.Check != "" && !ok {
		return fmt.Errorf("unknown check %q", d.Check)
	}
	return nil
}

// compile makes automata of the patterns and templates of the numbers.
func (d *Detector) compile() error {
	for _, n := range d.Numbers {
		t, err := parseTemplates(n)
		if err != nil {
			return err
		}
		d.templates = append(d.templates, t...)
	}
	for _, pattern := range d.Patterns {
		p, err := compileProgram(pattern)
		if err != nil {
			return err
		}
		if len(p.literals) > 0 || len(d.After) > 0 {
			d.programs = append(d.programs, p)
			continue
		}
		t, err := templatesOf(pattern)
		if err != nil {
			return fmt.Errorf("pattern %q: nothing cheap finds it: want a fixed text of %d bytes or more at a bounded "+
				"distance from its start, or \\b, digits of bounded number and separators: %w", pattern, minLiteral, err)
		}
		d.templates = append(d.templates, t...)
	}
	return nil
}
