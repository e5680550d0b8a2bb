// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// checkPath returns an error for a path that no executable or library has.
func checkPath(path string) error {
	t, err := ParseTemplate(ExactTemplate([]byte(path)))
	if err != nil {
		return err
	}
	if len(t.Raw) == 1 {
		return errors.New("the root folder is no file")
	}
	return nil
}

func (p Parent) identity() string       { return p.Path }
func (p Parent) provenance() Provenance { return p.Seen }

func (p Parent) join(o Parent) Parent {
	p.Seen = p.Seen.join(o.Seen)
	return p
}

func (p Parent) check() error {
	if p.Path == Any || p.Path == Runtime {
		return nil
	}
	return checkPath(p.Path)
}

func (p Parent) minus(r Parent) (Parent, bool) {
	return p, r.Path != Any && r.Path != p.Path
}

func (p Parent) words() string { return executableWords(p.Path) }

func (p Parent) fragment(path string) Process {
	return Process{Path: path, Parents: []Parent{p}}
}

// executableWords is the path of an executable for people.
func executableWords(path string) string {
	if path == Any || path == Runtime {
		return path
	}
	return ExactTemplate([]byte(path))
}

func (a Argument) identity() string       { return strings.Join(a.Shape, "\x00") }
func (a Argument) provenance() Provenance { return a.Seen }

func (a Argument) join(o Argument) Argument {
	a.Seen = a.Seen.join(o.Seen)
	return a
}

func (a Argument) check() error {
	raw, err := ArgumentBytes(a.Shape)
	if err == nil && !slices.Equal(argumentTexts(raw), a.Shape) {
		return fmt.Errorf("written otherwise than %q", argumentTexts(raw))
	}
	return err
}

func (a Argument) minus(r Argument) (Argument, bool) {
	return a, !slices.Equal(a.Shape, r.Shape)
}

func (a Argument) words() string {
	if len(a.Shape) == 0 {
		return "(none)"
	}
	words := make([]string, len(a.Shape))
	for i, text := range a.Shape {
		words[i] = text
		if text == "" || strings.ContainsAny(text, " '\"") {
			words[i] = "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

func (a Argument) fragment(path string) Process {
	return Process{Path: path, Arguments: []Argument{a}}
}

func (l Library) identity() string       { return l.Path }
func (l Library) provenance() Provenance { return l.Seen }

func (l Library) join(o Library) Library {
	l.Seen = l.Seen.join(o.Seen)
	return l
}

func (l Library) check() error { return checkPath(l.Path) }

func (l Library) minus(r Library) (Library, bool) { return l, l.Path != r.Path }

func (l Library) words() string { return ExactTemplate([]byte(l.Path)) }

func (l Library) fragment(path string) Process {
	return Process{Path: path, Libraries: []Library{l}}
}

func (f File) identity() string       { return f.Path + class(f.Seen) }
func (f File) provenance() Provenance { return f.Seen }

func (f File) join(o File) File {
	f.Access |= o.Access
	f.Seen = f.Seen.join(o.Seen)
	return f
}

func (f File) check() error {
	t, err := ParseTemplate(f.Path)
	if err != nil {
		return err
	}
	if t.String() != f.Path {
		return fmt.Errorf("written otherwise than %q", t)
	}
	if f.Access == 0 || f.Access > Read|Write|Create|Delete {
		return errors.New("access is missing: read, write, create, delete")
	}
	return nil
}

// minus takes the access away if the removal stands for every path of the template.
func (f File) minus(r File) (File, bool) {
	if coversTemplate(r.Path, f.Path) {
		f.Access &^= r.Access
	}
	return f, f.Access != 0
}

func (f File) words() string { return f.Access.String() + " " + f.Path }

func (f File) fragment(path string) Process {
	return Process{Path: path, Files: []File{f}}
}

// coversTemplate reports whether a template stands for every path that another one stands for.
func coversTemplate(wide, narrow string) bool {
	if wide == narrow || !strings.ContainsAny(wide, "<*") {
		return wide == narrow
	}
	w, err := ParseTemplate(wide)
	if err != nil {
		return false
	}
	n, err := ParseTemplate(narrow)
	if err != nil {
		return false
	}
	if n.Kind == KindExact {
		return w.Matches(n.Raw)
	}
	return w.covers(n)
}

// covers is coversTemplate for those that stand for more than one path, by what in all of these is the same. What varies
// may be of any text without a separator, so that the text before it decides.
func (t Template) covers(n Template) bool {
	fixed := n.Raw
	if n.Kind == KindFolder || n.Kind == KindShapedFolder {
		fixed = append(bytes.Clone(fixed), '/')
	}
	if n.Kind == KindShaped || n.Kind == KindShapedFolder {
		fixed = fixed[:bytes.IndexByte(fixed, number)]
	}
	switch {
	case t.Kind == KindShapedFolder && n.Kind == KindShaped:
		return bytes.Equal(folderOf(n.Raw), t.Raw)
	case t.Kind == KindTree:
		return bytes.HasPrefix(fixed, t.Raw)
	case t.Kind == KindFolder && n.Kind == KindShaped:
		return bytes.HasPrefix(fixed, append(bytes.Clone(t.Raw), '/')) && bytes.Equal(folderOf(n.Raw), t.Raw)
	case t.Kind == KindShapedFolder && n.Kind == KindFolder:
		return bytes.Equal(Shape(n.Raw), t.Raw)
	default:
		return false
	}
}

func (e Egress) identity() string {
	return fmt.Sprintf("%s %s %05d", e.peer(), e.Protocol, e.Port)
}

// peer is who may be contacted, with what kind of name it is.
func (e Egress) peer() string {
	switch {
	case e.Name != "":
		return "name " + e.Name
	case e.Service != "":
		return "service " + e.Service
	case e.Workload != "":
		return "workload " + e.Workload
	default:
		return "cidr " + e.CIDR
	}
}

func (e Egress) provenance() Provenance { return e.Seen }

func (e Egress) join(o Egress) Egress {
	e.Seen = e.Seen.join(o.Seen)
	return e
}

func (e Egress) check() error {
	set := 0
	for _, text := range []string{e.Name, e.Service, e.Workload, e.CIDR} {
		if text != "" {
			set++
		}
	}
	if set != 1 {
		return errors.New("exactly one of name, service, workload and cidr is expected")
	}
	if err := e.checkPeer(); err != nil {
		return err
	}
	return checkPort(e.Protocol, e.Port)
}

func (e Egress) checkPeer() error {
	switch {
	case e.Name != "":
		return checkDomain(e.Name)
	case e.Service != "":
		return checkObject("service", e.Service, 2, "namespace/name")
	case e.Workload != "":
		return checkObject("workload", e.Workload, 3, "namespace/Kind/name")
	default:
		prefix, err := netip.ParsePrefix(e.CIDR)
		switch {
		case err != nil:
			return fmt.Errorf("%q is no prefix such as 10.0.0.0/8", e.CIDR)
		case prefix.Addr().Is4In6():
			return fmt.Errorf("%s: an IPv4 address is written as such", e.CIDR)
		case prefix != prefix.Masked():
			return fmt.Errorf("%s has bits beyond its length: %s is meant", e.CIDR, prefix.Masked())
		case prefix.String() != e.CIDR:
			return fmt.Errorf("%s is written %s", e.CIDR, prefix)
		}
		return nil
	}
}

// checkDomain returns an error for what is no domain name, or one after "*.".
func checkDomain(name string) error {
	domain := strings.TrimPrefix(name, "*.")
	if len(domain) > 253 {
		return errors.New("a domain name has at most 253 bytes")
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%q: a domain name in lower case is expected, after *. if all below it are meant", name)
		}
		for i := range len(label) {
			if b := label[i]; b != '-' && b != '_' && (!alphanumeric(b) || 'A' <= b && b <= 'Z') {
				return fmt.Errorf("%q: a domain name in lower case is expected, after *. if all below it are meant", name)
			}
		}
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return fmt.Errorf("%s is an address: write it as cidr", name)
	}
	return nil
}

func checkObject(what, text string, parts int, form string) error {
	split := strings.Split(text, "/")
	if len(split) != parts || slices.Contains(split, "") {
		return fmt.Errorf("%s %q: %s is expected", what, text, form)
	}
	return checkText(text, maxName)
}

// checkPort returns an error for an unknown protocol or a port of one that has none.
func checkPort(protocol string, port uint16) error {
	if protocol == "" {
		return errors.New("protocol is missing")
	}
	if _, err := ProtocolNumber(protocol); err != nil {
		return err
	}
	if port != 0 && !hasPorts(protocol) {
		return fmt.Errorf("%s has no ports: a port is of one protocol that has them, such as tcp", protocol)
	}
	return nil
}

func (e Egress) minus(r Egress) (Egress, bool) {
	return e, !r.covers(e)
}

// covers reports whether an entry stands for all that another one stands for.
func (e Egress) covers(n Egress) bool {
	if e.Protocol != AnyProtocol && e.Protocol != n.Protocol || e.Port != 0 && e.Port != n.Port {
		return false
	}
	if domain, ok := strings.CutPrefix(e.Name, "*"); ok && strings.HasSuffix(strings.TrimPrefix(n.Name, "*"), domain) {
		return true
	}
	if e.CIDR == "" || n.CIDR == "" {
		return e.peer() == n.peer()
	}
	wide, err := netip.ParsePrefix(e.CIDR)
	if err != nil {
		return false
	}
	narrow, err := netip.ParsePrefix(n.CIDR)
	return err == nil && wide.Bits() <= narrow.Bits() && wide.Contains(narrow.Addr())
}

func (e Egress) words() string {
	_, name, _ := strings.Cut(e.peer(), " ")
	if prefix, err := netip.ParsePrefix(e.CIDR); err == nil && prefix.IsSingleIP() {
		name = prefix.Addr().String()
	}
	return e.Protocol + " " + name + portWords(e.Protocol, e.Port)
}

// portWords is the port for people, to stand after a name or address.
func portWords(protocol string, port uint16) string {
	switch {
	case port != 0:
		return " port " + strconv.Itoa(int(port))
	case hasPorts(protocol):
		return " any port"
	default:
		return ""
	}
}

func (e Egress) fragment(path string) Process {
	return Process{Path: path, Egress: []Egress{e}}
}

func (p Port) identity() string       { return fmt.Sprintf("%s %05d", p.Protocol, p.Port) }
func (p Port) provenance() Provenance { return p.Seen }

func (p Port) join(o Port) Port {
	p.Seen = p.Seen.join(o.Seen)
	return p
}

func (p Port) check() error {
	if !hasPorts(p.Protocol) {
		return fmt.Errorf("protocol %q: one with ports is expected, such as tcp", p.Protocol)
	}
	return nil
}

func (p Port) minus(r Port) (Port, bool) {
	return p, p.Protocol != r.Protocol || p.Port != r.Port
}

func (p Port) words() string {
	if p.Port == 0 {
		return p.Protocol + " a port that the kernel chooses"
	}
	return p.Protocol + " port " + strconv.Itoa(int(p.Port))
}

func (p Port) fragment(path string) Process {
	return Process{Path: path, Listen: []Port{p}}
}

func (s Socket) identity() string       { return s.Family + " " + s.Kind }
func (s Socket) provenance() Provenance { return s.Seen }

func (s Socket) join(o Socket) Socket {
	s.Seen = s.Seen.join(o.Seen)
	return s
}

func (s Socket) check() error {
	if _, err := FamilyNumber(s.Family); err != nil {
		return err
	}
	if _, err := SocketKindNumber(s.Kind); err != nil {
		return err
	}
	if s.Family == "unix" {
		return errors.New("unix sockets need no entry")
	}
	return nil
}

func (s Socket) minus(r Socket) (Socket, bool) {
	return s, s.Family != r.Family || s.Kind != r.Kind
}

func (s Socket) words() string { return s.Family + " " + s.Kind }

func (s Socket) fragment(path string) Process {
	return Process{Path: path, Sockets: []Socket{s}}
}

func (c Capability) identity() string       { return c.Name }
func (c Capability) provenance() Provenance { return c.Seen }

func (c Capability) join(o Capability) Capability {
	c.Seen = c.Seen.join(o.Seen)
	return c
}

func (c Capability) check() error {
	if !slices.Contains(capabilities[:], c.Name) {
		return fmt.Errorf("unknown capability %q", c.Name)
	}
	return nil
}

func (c Capability) minus(r Capability) (Capability, bool) { return c, c.Name != r.Name }

func (c Capability) words() string { return c.Name }

func (c Capability) fragment(path string) Process {
	return Process{Path: path, Capabilities: []Capability{c}}
}
