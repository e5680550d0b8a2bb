// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/rules/dlp"
)

func builtinInline(t *testing.T) (*dlp.Inline, []dlp.Detector) {
	t.Helper()
	set, err := dlp.Builtin()
	must(t, err)
	matcher, err := set.Compile(dlp.CompileConfig{})
	must(t, err)
	in, err := matcher.Inline()
	must(t, err)
	return &in, matcher.Detectors()
}

// walk goes with the table over a text as the kernel does: the detectors of which a value ends in it, and the one of which one has
// begun at its end.
func (a *automaton) walk(text string) (found, begun string) {
	name := func(number uint8) string {
		if number == 0 {
			return ""
		}
		d := &a.detectors[number-1]
		return string(d.Name[:d.NameLen])
	}
	state := uint16(0)
	for i := range len(text) {
		to := a.table.Next[int(state)*dlp.InlineClasses+int(a.table.Classes[text[i]])]
		state = to &^ blockAccept
		if to&blockAccept != 0 {
			found += name(a.table.Accept[state]) + " "
		}
	}
	return strings.TrimSpace(found), name(a.table.Partial[state])
}

// TestBlockAutomaton has the kernel's table find what is certain, and what has begun.
func TestBlockAutomaton(t *testing.T) {
	c := &Content{}
	must(t, c.Block(builtinInline(t)))
	for _, tt := range []struct{ text, found, begun string }{
		{"pay 4111 1111 1111 1111 now", "payment-card", ""},
		{"4111 1111 1111 1112", "", ""},
		{blockCards, "payment-card payment-card payment-card payment-card", ""},
		{blockHead + blockKey, "private-key", ""},
		// What only the detectors can judge.
		{"id 4111111111111111 ", "", ""},
		{"key AKIAQ3EGRZ5TUVW7XYZ2 ", "", ""},
		{"", "", ""},
		{"-", "", ""},
		{"hello -----BEG", "", "openssh-private-key"},
		{"-----BEGIN PRIVATE ", "", "private-key"},
		{"4111 1111 11", "", "payment-card"},
		{"4111", "", ""},
	} {
		if found, begun := c.automaton.walk(tt.text); found != tt.found || begun != tt.begun {
			t.Errorf("%q: found %q, begun %q, want %q and %q", tt.text, found, begun, tt.found, tt.begun)
		}
	}
	for _, d := range c.automaton.detectors {
		if d.NameLen == 0 || d.Count == 0 || d.Distinct > blockValues {
			t.Errorf("detector %q: %+v", d.Name[:d.NameLen], d)
		}
	}
	in, detectors := builtinInline(t)
	in.States = dlp.InlineStates + 1
	if err := (&Content{}).Block(in, detectors); err == nil {
		t.Error("an automaton that has no room in the table is taken")
	}
}
