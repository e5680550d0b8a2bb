// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"fmt"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// maxEntryColumns is how wide the tree of a profile is drawn at most, where lines may be cut.
const maxEntryColumns = 96

// writeTree shows a profile: each executable, and what it lists below it.
func (s *session) writeTree(p *profile.Profile) error {
	if err := s.writeImages(p.Images); err != nil {
		return err
	}
	limit := maxEntryColumns
	if s.format == formatWide {
		limit = 0
	}
	table := s.table(term.Column{Title: "ENTRY", Max: limit}, term.Column{Title: "ORIGIN"}, term.Column{Title: "REPLICAS", Right: true},
		term.Column{Title: "COUNT", Right: true}, term.Column{Title: "LAST SEEN"}, term.Column{Title: "BY"})
	entries := p.Entries()
	process := ""
	for i, e := range entries {
		if own := e.Kind == profile.ProcessEntry; own || e.Process != process || i == 0 {
			process = e.Process
			row := []term.Cell{{Text: processTitle(process), Style: term.Bold}}
			if own {
				row = s.entryRow(cmp.Or(e.Text, process), e.Seen, term.Bold)
			}
			if err := table.Row(row...); err != nil {
				return err
			}
			if own {
				continue
			}
		}
		branch := "├─"
		if i+1 == len(entries) || entries[i+1].Process != process || entries[i+1].Kind == profile.ProcessEntry {
			branch = "└─"
		}
		if err := table.Row(s.entryRow(fmt.Sprintf("%s %-10s  %s", branch, kindTitle(e.Kind), e.Text), e.Seen, term.Plain)...); err != nil {
			return err
		}
	}
	if len(entries) == 0 {
		s.note("this profile lists nothing")
		return nil
	}
	return table.Flush()
}

func (s *session) writeImages(images []profile.Image) error {
	p := s.paper()
	for _, image := range images {
		p.field("image", "%s %s, since %s", image.Reference, image.Digest, s.time(image.FirstSeen))
	}
	p.line(term.Plain, "")
	return p.err
}

// entryRow is an entry with where it comes from.
func (s *session) entryRow(text string, seen profile.Provenance, style term.Style) []term.Cell {
	origin := term.Cell{Text: string(seen.Origin)}
	switch seen.Origin {
	case profile.Candidate:
		origin.Style = term.Yellow
		if seen.Suspect != "" {
			origin.Text += ": " + string(seen.Suspect)
		}
	case profile.Removed:
		origin.Style, style = term.Red, term.Red
	case profile.Written, profile.Probe:
		origin.Style = term.Cyan
	}
	var replicas uint64
	for _, n := range seen.Replicas {
		replicas += uint64(n)
	}
	row := []term.Cell{{Text: text, Style: style}, origin, {Text: countOrDash(replicas)}, {Text: countOrDash(seen.Count)}, {Text: "-"}, {}}
	if !seen.Last.IsZero() {
		row[4].Text = s.age(seen.Last)
	}
	if seen.Author != "" {
		row[5].Text = seen.Author + ": " + dash(seen.Reason)
	}
	return row
}

func countOrDash(n uint64) string {
	if n == 0 {
		return "-"
	}
	return grouped(n)
}

// kindTitle says in a word what an entry is about.
func kindTitle(kind profile.EntryKind) string {
	switch kind {
	case profile.ParentEntry:
		return "started by"
	case profile.ArgumentEntry:
		return "arguments"
	case profile.LibraryEntry:
		return "library"
	case profile.EgressEntry:
		return "contacts"
	case profile.ListenEntry:
		return "listens"
	default:
		return string(kind)
	}
}

// processTitle names the executable that entries belong to.
func processTitle(path string) string {
	if path == profile.Any {
		return "(every executable)"
	}
	return path
}

// compareProcess orders executables as profiles do: what is listed for every one first.
func compareProcess(a, b string) int {
	if (a == profile.Any) != (b == profile.Any) {
		if a == profile.Any {
			return -1
		}
		return 1
	}
	return cmp.Compare(a, b)
}
