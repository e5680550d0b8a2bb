// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// What a document of a profile file is.
const (
	APIVersion   = "holdfast.dev/v1alpha1"
	DocumentKind = "Profile"
)

// MaxFile is the largest file of profiles, in bytes.
const MaxFile = 64 << 20

// Document is one document of a profile file.
type Document struct {
	Profile *Profile
	// Modes are the modes that the file sets, where it is an agent's policy file.
	Modes Modes
	// Line is where the document begins, from 1.
	Line int
}

// Decode reads a file of profiles: YAML, one document a profile. The name is for errors only. A file with anything wrong
// is refused whole; the error is an *InvalidError then, which names line and reason. What is returned is valid and in
// canonical order.
func Decode(name string, data []byte) ([]Document, error) {
	r := &reader{file: name}
	if len(data) > MaxFile {
		r.refuse(0, "%d bytes, at most %d", len(data), MaxFile)
		return nil, r.err()
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var documents []Document
	lines := make(map[Key]int)
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.syntax(err)
			break
		}
		if len(documents) == MaxProfiles {
			r.refuse(node.Line, "more than %d profiles", MaxProfiles)
			break
		}
		if len(node.Content) == 0 {
			continue
		}
		d := r.document(node.Content[0])
		key := d.Profile.Key
		if first, ok := lines[key]; ok && key != (Key{}) {
			r.refuse(d.Line, "%s stands twice: first in line %d", key, first)
		}
		lines[key] = d.Line
		documents = append(documents, d)
	}
	if len(documents) == 0 && len(r.problems) == 0 {
		r.refuse(1, "no profile")
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return documents, nil
}

// DecodeOne is Decode for what holds one profile and sets no modes, such as a layer in a message.
func DecodeOne(name string, data []byte) (*Profile, error) {
	documents, err := Decode(name, data)
	if err != nil {
		return nil, err
	}
	r := &reader{file: name}
	if len(documents) > 1 {
		r.refuse(documents[1].Line, "one profile is expected")
	}
	if len(documents[0].Modes) > 0 {
		r.refuse(documents[0].Line, "modes are not set here")
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return documents[0].Profile, nil
}

// reader turns YAML nodes into a profile and notes what is wrong with them.
type reader struct {
	file     string
	problems []Problem
	more     int
	// entries counts those of the document.
	entries int
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?((?s).*)$`)

// syntax notes an error of the YAML parser, which tells the line in its text.
func (r *reader) syntax(err error) {
	m := syntaxLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(m[1])
	r.refuse(max(line, 1), "not YAML: %s", m[2])
}

func (r *reader) document(n *yaml.Node) Document {
	p := &Profile{}
	d := Document{Profile: p, Line: n.Line}
	r.entries = 0
	version, kind := "", ""
	present := r.mapping(n, "a profile", []field{
		{"apiVersion", func(n *yaml.Node) { version = r.text(n) }},
		{"kind", func(n *yaml.Node) { kind = r.text(n) }},
		{"metadata", func(n *yaml.Node) { p.Key = r.key(n) }},
		{"modes", func(n *yaml.Node) { d.Modes = r.modes(n) }},
		{"images", func(n *yaml.Node) { p.Images = r.images(n) }},
		{"signals", func(n *yaml.Node) { p.Signals = r.signals(n) }},
		{"processes", func(n *yaml.Node) { p.Processes = r.processes(n) }},
	})
	if n.Kind != yaml.MappingNode {
		return d
	}
	if version != APIVersion {
		r.refuse(present.line("apiVersion"), "apiVersion: %s is expected", APIVersion)
	}
	if kind != DocumentKind {
		r.refuse(present.line("kind"), "kind: %s is expected", DocumentKind)
	}
	if _, ok := present["metadata"]; !ok {
		r.refuse(n.Line, "metadata is missing")
	}
	if !p.allowsAnything() {
		for _, signal := range LearnedSignals() {
			if d.Modes[signal] == ModeEnforce {
				r.refuse(present.line("modes"), "mode enforce for %s with a profile that allows nothing", signal)
				break
			}
		}
	}
	if r.total() == 0 {
		p.Normalise()
	}
	return d
}

// allowsAnything reports whether a profile has an entry that allows something.
func (p *Profile) allowsAnything() bool {
	return slices.ContainsFunc(p.Entries(), func(e Entry) bool { return e.Seen.Allows() })
}

// field is a key of a mapping and what its value is for.
type field struct {
	name string
	read func(*yaml.Node)
}

// fieldLines are the lines of the fields that were there; "" is the mapping itself.
type fieldLines map[string]int

// line is where a field stands, or else its mapping.
func (l fieldLines) line(name string) int {
	if line, ok := l[name]; ok {
		return line
	}
	return l[""]
}

// mapping reads a mapping of known fields, each at most once.
func (r *reader) mapping(n *yaml.Node, what string, fields []field) fieldLines {
	present := fieldLines{"": n.Line}
	if !r.plain(n) {
		return present
	}
	if n.Kind != yaml.MappingNode {
		r.refuse(n.Line, "%s: a mapping is expected", what)
		return present
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := slices.IndexFunc(fields, func(f field) bool { return f.name == name.Value })
		switch _, twice := present[name.Value]; {
		case name.Kind != yaml.ScalarNode || at < 0:
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.name
			}
			r.refuse(name.Line, "unknown key %q in %s; known: %s", name.Value, what, strings.Join(names, ", "))
		case twice:
			r.refuse(name.Line, "%s stands twice in %s", name.Value, what)
		default:
			present[name.Value] = name.Line
			fields[at].read(value)
		}
	}
	return present
}

// named calls a function for each value of a mapping with names of any kind.
func (r *reader) named(n *yaml.Node, what string, read func(name string, n *yaml.Node)) {
	if !r.plain(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.refuse(n.Line, "%s: a mapping is expected", what)
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := r.text(n.Content[i])
		if seen[name] {
			r.refuse(n.Content[i].Line, "%s stands twice in %s", quoted(name), what)
			continue
		}
		seen[name] = true
		read(name, n.Content[i+1])
	}
}

// list calls a function for each item of a list.
func (r *reader) list(n *yaml.Node, what string, read func(*yaml.Node)) {
	if !r.plain(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.refuse(n.Line, "%s: a list is expected", what)
		return
	}
	for _, c := range n.Content {
		read(c)
	}
}

// plain refuses what would make a file mean other than what it looks like.
func (r *reader) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.refuse(n.Line, "anchors and aliases are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		r.refuse(n.Line, "tags are not allowed")
	default:
		return true
	}
	return false
}

// text reads a scalar as it is written.
func (r *reader) text(n *yaml.Node) string {
	if !r.plain(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.refuse(n.Line, "a value is expected")
		return ""
	}
	if len(n.Value) > 4*MaxText {
		r.refuse(n.Line, "a value of %d bytes", len(n.Value))
		return ""
	}
	return n.Value
}

func (r *reader) boolean(n *yaml.Node) bool {
	switch text := r.text(n); text {
	case "true":
		return true
	case "false", "":
	default:
		r.refuse(n.Line, "%q: true or false is expected", text)
	}
	return false
}

func (r *reader) number(n *yaml.Node, bits int) uint64 {
	text := r.text(n)
	if text == "" {
		return 0
	}
	value, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		r.refuse(n.Line, "%q: a number from 0 to %d is expected", text, uint64(1)<<(bits-1)<<1-1)
	}
	return value
}

func (r *reader) moment(n *yaml.Node) time.Time {
	text := r.text(n)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.refuse(n.Line, "%q: a time such as 2006-01-02T15:04:05Z is expected", text)
		return time.Time{}
	}
	return second(t)
}

// path reads the path of an executable or library, written as a template that stands for itself alone.
func (r *reader) path(n *yaml.Node, special ...string) string {
	text := r.text(n)
	if text == "" || slices.Contains(special, text) {
		return text
	}
	t, err := ParseTemplate(text)
	switch {
	case err != nil:
		r.refuse(n.Line, "%s: %v", quoted(text), err)
	case t.Kind != KindExact:
		r.refuse(n.Line, "%s: executables and libraries are named one by one, without <n> or *", quoted(text))
	default:
		return string(t.Raw)
	}
	return ""
}

func (r *reader) key(n *yaml.Node) Key {
	var k Key
	before := r.total()
	r.mapping(n, "metadata", []field{
		{"namespace", func(n *yaml.Node) { k.Namespace = r.emptyText(n) }},
		{"kind", func(n *yaml.Node) { k.Kind = r.text(n) }},
		{"name", func(n *yaml.Node) { k.Name = r.text(n) }},
		{"container", func(n *yaml.Node) { k.Container = r.text(n) }},
	})
	if err := k.Validate(); err != nil && r.total() == before {
		r.refuse(n.Line, "metadata: %v", err)
	}
	return k
}

// emptyText reads a scalar that may be left empty.
func (r *reader) emptyText(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return ""
	}
	return r.text(n)
}

func (r *reader) modes(n *yaml.Node) Modes {
	modes := Modes{}
	r.named(n, "modes", func(name string, n *yaml.Node) {
		signal, err := ParseSignal(name)
		r.refuseError(n.Line, "", err)
		mode, err := ParseMode(r.text(n))
		r.refuseError(n.Line, "", errors.Join(err, CheckMode(signal, mode)))
		modes[signal] = mode
	})
	return modes
}

func (r *reader) images(n *yaml.Node) []Image {
	var images []Image
	seen := make(map[string]bool)
	r.list(n, "images", func(n *yaml.Node) {
		var i Image
		r.mapping(n, "an image", []field{
			{"digest", func(n *yaml.Node) { i.Digest = r.text(n) }},
			{"reference", func(n *yaml.Node) { i.Reference = r.text(n) }},
			{"firstSeen", func(n *yaml.Node) { i.FirstSeen = r.moment(n) }},
		})
		r.refuseError(n.Line, "image", i.check())
		if seen[i.Digest] {
			r.refuse(n.Line, "image %s stands twice", quoted(i.Digest))
		}
		seen[i.Digest] = true
		images = append(images, i)
	})
	if len(images) > MaxImages {
		r.refuse(n.Line, "%d images, at most %d", len(images), MaxImages)
	}
	return images
}

func (r *reader) signals(n *yaml.Node) map[Signal]Learning {
	signals := make(map[Signal]Learning)
	r.named(n, "signals", func(name string, n *yaml.Node) {
		signal, err := ParseSignal(name)
		r.refuseError(n.Line, "", err)
		signals[signal] = r.learning(n)
	})
	return signals
}

func (r *reader) learning(n *yaml.Node) Learning {
	var l Learning
	r.mapping(n, "a signal", []field{
		{"state", func(n *yaml.Node) { l.State = State(r.text(n)) }},
		{"observed", func(n *yaml.Node) { l.Observed = r.number(n, 64) }},
		{"once", func(n *yaml.Node) { l.Once = r.number(n, 64) }},
		{"replicas", func(n *yaml.Node) { l.Replicas = uint32(r.number(n, 32)) }},
		{"since", func(n *yaml.Node) { l.Since = r.moment(n) }},
		{"new", func(n *yaml.Node) { l.New = r.moment(n) }},
		{"lost", func(n *yaml.Node) { l.Lost = r.moment(n) }},
		{"nodes", func(n *yaml.Node) { l.Nodes = r.observations(n) }},
	})
	r.refuseError(n.Line, "", l.check())
	return l
}

func (r *reader) observations(n *yaml.Node) map[string]Observation {
	nodes := make(map[string]Observation)
	r.named(n, "nodes", func(name string, n *yaml.Node) {
		var o Observation
		r.mapping(n, fmt.Sprintf("node %s", quoted(name)), []field{
			{"observed", func(n *yaml.Node) { o.Observed = r.number(n, 64) }},
			{"once", func(n *yaml.Node) { o.Once = r.number(n, 64) }},
			{"replicas", func(n *yaml.Node) { o.Replicas = uint32(r.number(n, 32)) }},
		})
		nodes[name] = o
	})
	return nodes
}
