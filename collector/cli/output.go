// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/term"
	"github.com/holdfast-project/holdfast/collector/view"
)

// The layouts of times in tables; wide tables show the year, and when something happened to the millisecond.
const (
	timeLayout     = "01-02 15:04:05"
	timeLayoutWide = "2006-01-02 15:04:05.000"
)

// session is one invocation of a command that asks the collector: whom it asks, and how it shows the answer.
type session struct {
	*client
	env    Env
	format string
	colour bool
}

// open reads the settings and prepares for asking. It connects to nothing yet. also are output formats beyond those that
// every command has.
func (a *app) open(also ...string) (*session, error) {
	s, err := a.settings(also...)
	if err != nil {
		return nil, err
	}
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	return &session{client: c, env: a.env, format: s.Output, colour: a.colour(s)}, nil
}

// local prepares a command that asks nobody: it has settings, and no collector. also is as for open.
func (a *app) local(also ...string) (*session, error) {
	s, err := a.settings(also...)
	if err != nil {
		return nil, err
	}
	return &session{env: a.env, format: s.Output, colour: a.colour(s)}, nil
}

// writeValue writes what this command found out itself as JSON, on a line of its own.
func (s *session) writeValue(v any) error {
	var object bytes.Buffer
	encoder := json.NewEncoder(&object)
	encoder.SetEscapeHTML(false) // What is shown is no web page, and profiles are full of <n>.
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return s.writeJSON(bytes.TrimSuffix(object.Bytes(), []byte("\n")))
}

// writeJSON writes one object as the collector sent it, on a line of its own, safe for a terminal.
func (s *session) writeJSON(object json.RawMessage) error {
	if _, err := s.env.Stdout.Write(append(term.EscapeJSON(object), '\n')); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// table starts a table on stdout. Only on a terminal are lines cut, and then not in wide tables.
func (s *session) table(columns ...term.Column) *term.Table {
	layout := term.Layout{Columns: columns, Colour: s.colour}
	if s.env.Terminal && s.format != formatWide {
		layout.Width = s.env.Columns
	}
	return term.NewTable(s.env.Stdout, layout)
}

// note tells people something beside the answer, on stderr.
func (s *session) note(format string, args ...any) {
	fmt.Fprintf(s.env.Stderr, "holdfast: %s\n", term.Escape(fmt.Sprintf(format, args...)))
}

// nothing tells people that there is nothing to show; for programs, nothing is enough.
func (s *session) nothing(why string) error {
	if s.format != formatJSON {
		s.note("%s", why)
	}
	return nil
}

func (s *session) time(t time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case s.format == formatWide:
		return t.In(s.env.Location).Format(timeLayoutWide)
	default:
		return t.In(s.env.Location).Format(timeLayout)
	}
}

// age says how long ago t was, in the largest unit that fits.
func (s *session) age(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return shortDuration(max(s.env.Now().Sub(t), 0)) + " ago"
}

func shortDuration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// priorityStyle makes what matters stand out.
func priorityStyle(priority string) term.Style {
	p, err := view.ParsePriority(priority)
	if err != nil {
		return term.Plain
	}
	switch names := len(view.PriorityNames()); {
	case int(p) > names-3: // Emergency, Alert, Critical.
		return term.BoldRed
	case int(p) == names-3:
		return term.Red
	case int(p) == names-4:
		return term.Yellow
	default:
		return term.Plain
	}
}

// byteSize writes a size in the unit in which it has one to three digits before the point.
func byteSize(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[prefix])
}

// grouped writes a count with a thin mark between thousands, for people.
func grouped(n uint64) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// paper writes headed sections of names and values, and remembers the first error. Values are escaped.
type paper struct {
	out    io.Writer
	colour bool
	err    error
}

func (s *session) paper() *paper {
	return &paper{out: s.env.Stdout, colour: s.colour}
}

func (p *paper) line(style term.Style, format string, args ...any) {
	text := term.Escape(fmt.Sprintf(format, args...))
	if p.colour {
		text = style.Paint(text)
	}
	if _, err := fmt.Fprintln(p.out, text); err != nil && p.err == nil {
		p.err = fmt.Errorf("write: %w", err)
	}
}

// section begins a part with a heading.
func (p *paper) section(title string) {
	p.line(term.Plain, "")
	p.line(term.Bold, "%s", title)
}

// field writes a name and its value; one without a value is left out.
func (p *paper) field(name, format string, args ...any) {
	if value := fmt.Sprintf(format, args...); value != "" {
		p.line(term.Plain, "  %-13s %s", name, value)
	}
}
