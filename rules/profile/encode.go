// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Encode writes a profile as a document of the file format. Equal profiles, in canonical order, give equal bytes.
func Encode(p *Profile) []byte {
	return EncodeDocuments([]Document{{Profile: p}})
}

// EncodeBare is Encode without what changes with every observation: times, counts, replicas and the figures of learning.
// So the bytes change only with what is allowed and how far learning is.
func EncodeBare(p *Profile) []byte {
	e := encoder{bare: true}
	e.document(Document{Profile: p})
	return e.text
}

// EncodeDocuments writes several profiles as one file, in the order given.
func EncodeDocuments(documents []Document) []byte {
	var e encoder
	for i, d := range documents {
		if i > 0 {
			e.text = append(e.text, "---\n"...)
		}
		e.document(d)
	}
	return e.text
}

// encoder writes YAML: blocks down to the entries of a process, each of which is one line.
type encoder struct {
	text []byte
	bare bool
}

func (e *encoder) line(indent int, format string, arguments ...any) {
	for range indent {
		e.text = append(e.text, ' ')
	}
	e.text = fmt.Appendf(e.text, format, arguments...)
	e.text = append(e.text, '\n')
}

func (e *encoder) document(d Document) {
	p := d.Profile
	e.line(0, "apiVersion: %s", APIVersion)
	e.line(0, "kind: %s", DocumentKind)
	e.line(0, "metadata:")
	if p.Key.Namespace != "" {
		e.line(2, "namespace: %s", scalar(p.Key.Namespace))
	}
	e.line(2, "kind: %s", scalar(p.Key.Kind))
	e.line(2, "name: %s", scalar(p.Key.Name))
	e.line(2, "container: %s", scalar(p.Key.Container))
	if len(d.Modes) > 0 {
		e.line(0, "modes:")
		for _, signal := range Signals() {
			if mode, ok := d.Modes[signal]; ok {
				e.line(2, "%s: %s", signal, scalar(string(mode)))
			}
		}
	}
	if len(p.Images) > 0 {
		e.line(0, "images:")
		for _, i := range p.Images {
			e.line(2, "- %s", flow("digest", scalar(i.Digest), "reference", scalarOrNone(i.Reference), "firstSeen", moment(i.FirstSeen)))
		}
	}
	if len(p.Signals) > 0 {
		e.line(0, "signals:")
		for _, signal := range Signals() {
			if l, ok := p.Signals[signal]; ok {
				e.line(2, "%s: %s", signal, e.learning(l))
			}
		}
	}
	if len(p.Processes) > 0 {
		e.line(0, "processes:")
	}
	for i := range p.Processes {
		e.process(&p.Processes[i])
	}
}

func (e *encoder) learning(l Learning) string {
	if e.bare {
		return flow("state", string(l.State))
	}
	nodes := ""
	if len(l.Nodes) > 0 {
		var fields []string
		for _, node := range slices.Sorted(maps.Keys(l.Nodes)) {
			o := l.Nodes[node]
			fields = append(fields, scalar(node),
				flow("observed", count(o.Observed), "once", count(o.Once), "replicas", count(uint64(o.Replicas))))
		}
		nodes = flow(fields...)
	}
	return flow("state", string(l.State), "observed", count(l.Observed), "once", count(l.Once),
		"replicas", count(uint64(l.Replicas)), "since", moment(l.Since), "new", moment(l.New), "lost", moment(l.Lost),
		"nodes", nodes)
}

func (e *encoder) process(p *Process) {
	e.line(2, "- path: %s", scalar(executableWords(p.Path)))
	if len(p.Sources) > 0 {
		words := make([]string, len(p.Sources))
		for i, s := range p.Sources {
			words[i] = string(s)
		}
		e.line(4, "sources: %s", sequence(words))
	}
	if p.Seen.Origin == Removed {
		e.line(4, "remove: true")
	}
	plain := Provenance{Origin: p.writtenOrigin()}
	if seen := e.seen(p.Seen, plain.Origin); seen != "" {
		e.line(4, "seen: %s", seen)
	} else if p.Seen.Origin != Removed && p.Seen.Origin != plain.Origin {
		e.line(4, "seen: %s", flow("origin", string(p.Seen.Origin)))
	}
	encodeItems(e, "parents", p.Parents, func(x Parent) []string {
		return []string{"path", scalar(executableWords(x.Path))}
	})
	if p.AnyArguments {
		e.line(4, "anyArguments: true")
	}
	encodeItems(e, "arguments", p.Arguments, func(x Argument) []string { return []string{"argv", scalars(x.Shape)} })
	encodeItems(e, "libraries", p.Libraries, func(x Library) []string {
		return []string{"path", scalar(executableWords(x.Path))}
	})
	encodeItems(e, "files", p.Files, func(x File) []string {
		return []string{"path", scalar(x.Path), "access", sequence(x.Access.Words())}
	})
	encodeItems(e, "egress", p.Egress, egressFields)
	encodeItems(e, "listen", p.Listen, func(x Port) []string {
		return []string{"protocol", scalar(x.Protocol), "port", strconv.Itoa(int(x.Port))}
	})
	encodeItems(e, "sockets", p.Sockets, func(x Socket) []string {
		return []string{"family", scalar(x.Family), "kind", scalar(x.Kind)}
	})
	encodeItems(e, "capabilities", p.Capabilities, func(x Capability) []string {
		return []string{"name", scalar(x.Name)}
	})
}

// egressFields are the fields of an egress entry; a port is left out where there is none, and any where it is every one.
func egressFields(x Egress) []string {
	port := ""
	switch {
	case x.Port != 0:
		port = strconv.Itoa(int(x.Port))
	case hasPorts(x.Protocol):
		port = "any"
	}
	return []string{
		"name", scalarOrNone(x.Name), "service", scalarOrNone(x.Service), "workload", scalarOrNone(x.Workload),
		"cidr", prefix(x.CIDR), "protocol", scalar(x.Protocol), "port", port,
	}
}

// prefix is a CIDR without quotes where YAML takes it for nothing else.
func prefix(cidr string) string {
	if p, err := netip.ParsePrefix(cidr); err == nil && p.Addr().Is4() {
		return cidr
	}
	return scalarOrNone(cidr)
}

// encodeItems writes a list of entries, one a line.
func encodeItems[T item[T]](e *encoder, name string, items []T, fields func(T) []string) {
	if len(items) == 0 {
		return
	}
	e.line(4, "%s:", name)
	for _, x := range items {
		parts := fields(x)
		p := x.provenance()
		if p.Origin == Removed {
			parts = append(parts, "remove", "true")
		}
		e.line(6, "- %s", flow(append(parts, "seen", e.seen(p, Written))...))
	}
}

// seen is the provenance of an entry; empty if it is what the file need not say.
func (e *encoder) seen(p Provenance, unsaid Origin) string {
	origin := string(p.Origin)
	if p.Origin == Removed || p.Origin == "" {
		origin = ""
	}
	if e.bare {
		p.First, p.Last, p.Count, p.Replicas = time.Time{}, time.Time{}, 0, nil
	}
	rest := []string{
		"suspect", scalarOrNone(string(p.Suspect)), "author", scalarOrNone(p.Author), "reason", scalarOrNone(p.Reason),
		"first", moment(p.First), "last", moment(p.Last), "count", count(p.Count), "replicas", replicas(p.Replicas),
	}
	if p.Origin == unsaid && flow(rest...) == "{}" {
		origin = ""
	}
	if fields := flow(append([]string{"origin", origin}, rest...)...); fields != "{}" {
		return fields
	}
	return ""
}

func replicas(of map[string]uint32) string {
	if len(of) == 0 {
		return ""
	}
	var fields []string
	for _, node := range slices.Sorted(maps.Keys(of)) {
		fields = append(fields, scalar(node), strconv.Itoa(int(of[node])))
	}
	return flow(fields...)
}

// flow is a mapping in one line, of names and values in turn; what has no value is left out.
func flow(fields ...string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i+1] == "" {
			continue
		}
		if b.Len() > 1 {
			b.WriteString(", ")
		}
		b.WriteString(fields[i])
		b.WriteString(": ")
		b.WriteString(fields[i+1])
	}
	b.WriteByte('}')
	return b.String()
}

// sequence is a list in one line.
func sequence(values []string) string {
	return "[" + strings.Join(values, ", ") + "]"
}

func scalars(texts []string) string {
	values := make([]string, len(texts))
	for i, text := range texts {
		values[i] = scalar(text)
	}
	return sequence(values)
}

func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return second(t).Format(time.RFC3339)
}

// scalarOrNone is a text that is left out when it is empty.
func scalarOrNone(text string) string {
	if text == "" {
		return ""
	}
	return scalar(text)
}

// scalar is a text as YAML: as it is where nothing could be taken for something else, else in single quotes, or in double
// quotes if it has characters that do not print.
func scalar(text string) string {
	if bareScalar(text) {
		return text
	}
	for _, r := range text {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return strconv.QuoteToASCII(text)
		}
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// bareScalar reports whether YAML reads a text as itself without quotes, wherever it stands.
func bareScalar(text string) bool {
	if text == "" || len(text) < 6 && slices.Contains(yamlWords, strings.ToLower(text)) {
		return false
	}
	for i := range len(text) {
		b := text[i]
		if alphanumeric(b) && (i > 0 || !decimal(b)) || b == '/' || b == '_' || b == '(' || b == '<' {
			continue
		}
		if i == 0 || strings.IndexByte(`.-+=)>@$;~%*\`, b) < 0 && (b != ':' || i == len(text)-1) {
			return false
		}
	}
	return true
}

// yamlWords are the words that YAML takes for something else than a text.
var yamlWords = []string{"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}
