// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Options say how profiles are written. The zero value knows nothing of the cluster and widens where it has to.
type Options struct {
	// Cluster is what is known of the cluster's objects; nil for nothing.
	Cluster *Cluster
	// Strict leaves out what would have to be widened, so that the outcome denies more than the profile rather than less.
	Strict bool
}

// Output is a file.
type Output struct {
	// Text is the file, with its comment.
	Text string
	// Notes are what the file says otherwise than the profile, in the order of the comment.
	Notes []Note
}

// Effect is what became of an entry that could not be written as it is.
type Effect string

// The effects. A widened entry allows more than the profile, one that was left out is denied though the profile allows it,
// and what was added stands in no profile.
const (
	Widened Effect = "widened"
	LeftOut Effect = "left out"
	Added   Effect = "added"
)

// Note is one thing that a file says otherwise than the profile. Its texts are fit to be shown.
type Note struct {
	Effect Effect `json:"effect"`
	// Container and Process are whose entry it is; empty for what is about all of them.
	Container string `json:"container,omitempty"`
	Process   string `json:"process,omitempty"`
	// Entry is the entry, for people.
	Entry string `json:"entry,omitempty"`
	// Why says what is written instead, and why.
	Why string `json:"why"`
}

// String is the note as a line of a comment.
func (n Note) String() string {
	var parts []string
	for _, part := range []string{n.Container, n.Process, n.Entry} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return n.Why
	}
	return strings.Join(parts, " ") + ": " + n.Why
}

// notes gathers notes, each once.
type notes struct {
	list []Note
	seen map[Note]bool
}

func (n *notes) add(note Note) {
	if n.seen == nil {
		n.seen = map[Note]bool{}
	}
	if !n.seen[note] {
		n.seen[note] = true
		n.list = append(n.list, note)
	}
}

// sorted are the notes by effect, then as they came.
func (n *notes) sorted() []Note {
	order := []Effect{Widened, LeftOut, Added}
	slices.SortStableFunc(n.list, func(a, b Note) int {
		return cmp.Compare(slices.Index(order, a.Effect), slices.Index(order, b.Effect))
	})
	return n.list
}

// comment is the head of a file: what it is, then the notes under their headings, as lines without marks.
func comment(about []string, list []Note) []string {
	lines := slices.Clone(about)
	headings := map[Effect]string{
		Widened: "WIDENED, allows more than the profile:",
		LeftOut: "LEFT OUT, denied here though the profile allows it:",
		Added:   "ADDED, stands in no profile:",
	}
	var last Effect
	for _, note := range list {
		if note.Effect != last {
			lines, last = append(lines, "", headings[note.Effect]), note.Effect
		}
		lines = append(lines, "  "+note.String())
	}
	return lines
}

// yamlComment is a comment in YAML. Names of objects come from whoever wrote these: nothing in them ends a line.
func yamlComment(lines []string) string {
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(strings.TrimRight("# "+oneLine(line), " ") + "\n")
	}
	return text.String()
}

// oneLine is a text with the characters that do not print written as their numbers.
func oneLine(text string) string {
	var line strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			line.WriteRune(r)
		} else {
			fmt.Fprintf(&line, "\\x{%x}", r)
		}
	}
	return line.String()
}

// effective are the profiles as they are in force: candidates left out, in the order of their keys.
func effective(profiles []*profile.Profile) ([]*profile.Profile, error) {
	if len(profiles) == 0 {
		return nil, errors.New("no profile")
	}
	list := make([]*profile.Profile, 0, len(profiles))
	for _, p := range profiles {
		e, err := profile.Effective(p, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Key, err)
		}
		e.Signals = p.Signals
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *profile.Profile) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return list, nil
}

// source says which profile a file was made of, and how far the learning of the signals that matter was.
func source(p *profile.Profile, signals ...profile.Signal) string {
	var states []string
	for _, signal := range signals {
		if state := p.Signals[signal].State; state != "" {
			states = append(states, fmt.Sprintf("%s %s", signal, state))
		}
	}
	if len(states) == 0 {
		return "  " + p.Key.String()
	}
	return fmt.Sprintf("  %s (learning: %s)", p.Key, strings.Join(states, ", "))
}

// words are an entry for people: of a process that lists nothing else.
func words(p profile.Process) string {
	p.Path, p.Seen = profile.Any, profile.Provenance{Origin: profile.Context}
	whole := profile.Profile{Processes: []profile.Process{p}}
	if entries := whole.Entries(); len(entries) == 1 {
		return entries[0].Text
	}
	return ""
}

// processWords are the path of a process for people.
func processWords(path string) string {
	if path == profile.Any {
		return "every process"
	}
	return profile.ExactTemplate([]byte(path))
}

// kindCounts says how many entries of these kinds the profiles have: what a form has no place for.
func kindCounts(profiles []*profile.Profile, kinds ...profile.EntryKind) string {
	counts := map[profile.EntryKind]int{}
	for _, p := range profiles {
		for _, entry := range p.Entries() {
			counts[entry.Kind]++
		}
	}
	var parts []string
	for _, kind := range kinds {
		if n := counts[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, kindWords(kind, n)))
		}
	}
	return strings.Join(parts, ", ")
}

func kindWords(kind profile.EntryKind, n int) string {
	one, many := string(kind), string(kind)+"s"
	switch kind {
	case profile.ProcessEntry:
		one, many = "executable", "executables"
	case profile.LibraryEntry:
		many = "libraries"
	case profile.CapabilityEntry:
		many = "capabilities"
	case profile.ListenEntry:
		one, many = "listening port", "listening ports"
	case profile.EgressEntry:
		one, many = "contact", "contacts"
	}
	if n == 1 {
		return one
	}
	return many
}
