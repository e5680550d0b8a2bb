// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// When what was learned becomes a template.
const (
	// uniqueAfter is how many paths with a date, a hash or such there are before their shape stands for them: the next
	// one will be another.
	uniqueAfter = 1
	// shapeAfter is how many paths of one shape there are before the shape stands for them.
	shapeAfter = 3
	// spreadAfter is how many direct entries of a folder there are before the folder stands for them, and how many folders
	// in a folder before all that is below stands for them.
	spreadAfter = 17
	// scratchAfter is spreadAfter of a folder for what is not kept.
	scratchAfter = 4
	// treeDepth is how many segments a folder has that may stand for all that is below it, whatever its folders' names are.
	treeDepth = 2
	// argumentsAfter is how many argument shapes an executable has before any arguments are allowed to it.
	argumentsAfter = 33
	// addressesAfter is how many addresses of one prefix there are before the prefix stands for them.
	addressesAfter = 33
	prefix4        = 24
	prefix6        = 64
)

// Generalise returns a copy of an observed profile in which learned entries that are alike have become one: paths of one
// shape, the many entries of a folder, the many argument shapes of a program that is no interpreter, the many addresses of
// a prefix. Each kind of access is generalised by itself. The outcome allows all that the profile did, depends on nothing
// but the profile, and does not change when it is generalised again. Executables are never generalised, and neither is what
// a person wrote or what waits for one.
func Generalise(p *Profile) *Profile {
	q := p.Clone()
	q.Normalise()
	for i := range q.Processes {
		process := &q.Processes[i]
		if class(process.Seen) != "" {
			continue
		}
		process.Files = generaliseFiles(process.Files)
		process.Egress = generaliseEgress(process.Egress)
		if !process.AnyArguments && !Interprets(process.Path) && countLearned(process.Arguments) >= argumentsAfter {
			process.Arguments, process.AnyArguments = nil, true
		}
	}
	if q.Len() > MaxEntries {
		return p.Clone()
	}
	return q
}

// grown reports whether an entry was learned, so that it may be generalised.
func grown(p Provenance) bool {
	return p.Allows() && p.Origin != Written
}

func countLearned[T item[T]](items []T) int {
	n := 0
	for _, x := range items {
		if grown(x.provenance()) {
			n++
		}
	}
	return n
}

// Interprets reports whether an executable is, by its name, one that runs what its arguments say: a shell, an interpreter,
// a loader, a launcher. Its arguments are never generalised beyond their shapes.
func Interprets(path string) bool {
	name := path[strings.LastIndexByte(path, '/')+1:]
	for _, prefix := range [...]string{"ld-", "ld.so", "beam.", "busybox", "lua", "perl", "php", "pypy", "python", "ruby"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	name = strings.TrimRight(name, "0123456789.-")
	_, found := slices.BinarySearch(interpreters, strings.ToLower(name))
	return found
}

// interpreters are names of what runs what its arguments say, without versions, in order.
var interpreters = []string{
	"ash", "at", "awk", "bash", "batch", "bpftrace", "bun", "busybox", "capsh", "chroot", "cpulimit", "csh", "dash", "deno",
	"doas", "dotnet", "dumb-init", "ed", "elixir", "emacs", "env", "erl", "ex", "expect", "find", "fish", "flock", "gawk",
	"gdb", "git", "gosu", "groovy", "guile", "ionice", "irb", "java", "jexec", "jrunscript", "jshell", "julia", "ksh",
	"less", "logrotate", "ltrace", "lua", "luajit", "make", "man", "mawk", "mksh", "mono", "more", "nano", "nawk", "nc",
	"ncat", "nice", "node", "nodejs", "nohup", "nsenter", "octave", "openssl", "parallel", "perl", "php", "php-cgi",
	"php-fpm", "pip", "posh", "psql", "pwsh", "pypy", "python", "r", "rbash", "rhino", "rscript", "rsync", "ruby",
	"run-parts", "runuser", "rvim", "scala", "script", "sed", "setarch", "setpriv", "setsid", "sh", "socat", "sqlite", "ssh",
	"start-stop-daemon", "stdbuf", "strace", "su", "su-exec", "sudo", "tar", "taskset", "tclsh", "tcsh", "time", "timeout",
	"tini", "tmux", "toybox", "unshare", "vi", "view", "vim", "watch", "wget", "wish", "xargs", "yash", "zip", "zsh",
}

// generaliseEgress lets prefixes stand for their addresses.
func generaliseEgress(list []Egress) []Egress {
	type group struct {
		prefix   netip.Prefix
		protocol string
		port     uint16
	}
	groupOf := func(e Egress) (group, bool) {
		prefix, err := netip.ParsePrefix(e.CIDR)
		if err != nil || !prefix.IsSingleIP() || isMetadata(prefix.Addr()) || !grown(e.Seen) {
			return group{}, false
		}
		bits := prefix6
		if prefix.Addr().Is4() {
			bits = prefix4
		}
		return group{netip.PrefixFrom(prefix.Addr(), bits).Masked(), e.Protocol, e.Port}, true
	}
	members := make(map[group]int)
	for _, e := range list {
		if g, ok := groupOf(e); ok {
			members[g]++
		}
	}
	for _, e := range list {
		prefix, err := netip.ParsePrefix(e.CIDR)
		if g := (group{prefix, e.Protocol, e.Port}); err == nil && members[g] > 0 && grown(e.Seen) {
			members[g] = addressesAfter
		}
	}
	out := make([]Egress, 0, len(list))
	for _, e := range list {
		if g, ok := groupOf(e); ok && members[g] >= addressesAfter {
			e.CIDR = g.prefix.String()
		}
		out = append(out, e)
	}
	return joined(out, nil)
}

// templates are the file entries of a process while they are generalised, by the text of their template.
type templates map[string]*template

type template struct {
	Template
	access Access
	seen   Provenance
}

func generaliseFiles(list []File) []File {
	var rest []File
	set := make(templates)
	for _, f := range list {
		t, err := ParseTemplate(f.Path)
		if err != nil || !grown(f.Seen) {
			rest = append(rest, f)
			continue
		}
		set[f.Path] = &template{Template: t, access: f.Access, seen: f.Seen}
	}
	set.raise(uniqueAfter, Read|Write|Create|Delete, uniqueShape)
	set.raise(shapeAfter, Read|Write|Create|Delete, shapeOf)
	set.raise(scratchAfter, Write|Create|Delete, scratchTemplate)
	set.raise(shapeAfter, Write|Create|Delete, madeTemplate)
	set.raise(spreadAfter, Write|Create|Delete, folderTemplate)
	set.trees()
	set.absorb()
	for text, t := range set {
		rest = append(rest, File{Path: text, Access: t.access, Seen: t.seen})
	}
	return joined(rest, nil)
}

// shapeOf is the shape that may stand for a path.
func shapeOf(t *template) (Template, bool) {
	if t.Kind != KindExact {
		return Template{}, false
	}
	shape := Shape(t.Raw)
	return Template{KindShaped, shape}, bytes.IndexByte(shape, number) >= 0
}

// folderTemplate is the template that may stand for the direct entries of a folder.
func folderTemplate(t *template) (Template, bool) {
	folder := folderOf(t.Raw)
	switch {
	case t.Kind != KindExact && t.Kind != KindShaped || len(folder) == 0 || guarded(folder):
		return Template{}, false
	case t.Kind == KindShaped && bytes.IndexByte(folder, number) >= 0:
		return Template{KindShapedFolder, folder}, true
	default:
		return Template{KindFolder, folder}, true
	}
}

// guarded reports whether a folder is one in which no entry stands for others, or lies below one: what is there decides
// what runs, or how.
func guarded(folder []byte) bool {
	for _, g := range [...]string{"/etc", "/usr", "/bin", "/sbin", "/boot", "/root/.ssh", "/proc", "/sys", "/dev"} {
		if rest, ok := bytes.CutPrefix(folder, []byte(g)); ok && (len(rest) == 0 || rest[0] == '/') {
			return true
		}
	}
	return bytes.HasPrefix(folder, []byte("/lib")) || bytes.HasSuffix(folder, []byte("/.ssh")) ||
		bytes.Contains(folder, []byte("/.ssh/"))
}

// raise lets wider templates stand for access that so many narrower ones have, each kind of access by itself.
func (s templates) raise(after int, bits Access, wide func(*template) (Template, bool)) {
	groups := make(map[string][]string)
	for text, t := range s {
		if w, ok := wide(t); ok {
			name := w.String()
			groups[name] = append(groups[name], text)
		}
	}
	for name, members := range groups {
		slices.Sort(members)
		for bit := Read; bit <= Delete; bit <<= 1 {
			with := slices.DeleteFunc(slices.Clone(members), func(text string) bool { return s[text].access&bit == 0 })
			known := s[name] != nil && s[name].access&bit != 0
			if bits&bit == 0 || !known && len(with) < after || len(with) == 0 {
				continue
			}
			w, _ := wide(s[with[0]])
			for _, text := range with {
				s.move(text, name, w, bit)
			}
		}
		s.drop(members)
	}
}

// move takes access from one template to another, which is made if need be.
func (s templates) move(from, to string, w Template, bits Access) {
	narrow, wide := s[from], s[to]
	bits &= narrow.access
	if bits == 0 {
		return
	}
	if wide == nil {
		wide = &template{Template: w, seen: narrow.seen}
		s[to] = wide
	}
	wide.access |= bits
	wide.seen = wide.seen.join(narrow.seen)
	narrow.access &^= bits
}

// drop forgets templates without access.
func (s templates) drop(texts []string) {
	for _, text := range texts {
		if t := s[text]; t != nil && t.access == 0 {
			delete(s, text)
		}
	}
}

// trees lets folders stand for all that is below them where there is access in many folders, the deepest first.
func (s templates) trees() {
	for {
		spread := s.spread()
		if len(spread) == 0 {
			return
		}
		texts := slices.Sorted(maps.Keys(s))
		for _, text := range texts {
			t := s[text]
			t.above(func(folder, _ []byte) {
				if bits := spread[string(folder)]; bits != 0 {
					w := Template{KindTree, append(bytes.Clone(folder), '/')}
					s.move(text, w.String(), w, bits)
				}
			})
		}
		s.drop(texts)
	}
}

// spread finds the folders in which enough folders have some access, and which: the deepest of them, which are all at the
// same depth.
func (s templates) spread() map[string]Access {
	type place struct {
		folder string
		bit    Access
	}
	folders := make(map[place]map[string]struct{})
	for _, t := range s {
		t.above(func(folder, child []byte) {
			for bit := Write; bit <= Delete; bit <<= 1 {
				if t.access&bit == 0 {
					continue
				}
				at := place{string(folder), bit}
				if folders[at] == nil {
					folders[at] = make(map[string]struct{})
				}
				folders[at][string(child)] = struct{}{}
			}
		})
	}
	spread, deepest := make(map[string]Access), 0
	for at, children := range folders {
		depth := strings.Count(at.folder, "/")
		if depth < deepest || !spreads(at.folder, children) {
			continue
		}
		if depth > deepest {
			clear(spread)
			deepest = depth
		}
		spread[at.folder] |= at.bit
	}
	return spread
}

// fixed is the beginning that all paths of the template have.
func (t *template) fixed() []byte {
	raw := t.Raw
	if t.Kind == KindFolder || t.Kind == KindShapedFolder {
		raw = append(bytes.Clone(raw), '/')
	}
	if t.Kind == KindShaped || t.Kind == KindShapedFolder {
		raw = raw[:bytes.IndexByte(raw, number)]
	}
	return raw
}

// above calls a function for each folder that may become a tree and holds the template's paths in a folder of its own,
// with that folder's name.
func (t *template) above(f func(folder, child []byte)) {
	raw, fixed := t.Raw, len(t.fixed())
	if t.Kind == KindFolder || t.Kind == KindShapedFolder {
		raw = append(bytes.Clone(raw), '/')
	}
	for i, b := range raw {
		if b != '/' || i == 0 {
			continue
		}
		if i >= fixed {
			return
		}
		child, _, below := bytes.Cut(raw[i+1:], []byte{'/'})
		if below && i+1 <= MaxTree && !guarded(raw[:i]) {
			f(raw[:i], child)
		}
	}
}

// absorb takes from each template the access that a wider one has.
func (s templates) absorb() {
	texts := slices.Sorted(maps.Keys(s))
	for _, text := range texts {
		t := s[text]
		for _, wide := range s.wider(t) {
			if w := s[wide]; w != nil && wide != text {
				s.move(text, wide, w.Template, t.access&w.access)
			}
		}
	}
	s.drop(texts)
}

// wider are the texts of the templates that stand for all that one stands for.
func (s templates) wider(t *template) []string {
	var wide []string
	switch t.Kind {
	case KindExact:
		wide = append(wide, ShapedTemplate(t.Raw), Template{KindFolder, folderOf(t.Raw)}.String(),
			Template{KindShapedFolder, Shape(folderOf(t.Raw))}.String())
	case KindShaped:
		wide = append(wide, Template{KindFolder, folderOf(t.Raw)}.String(), Template{KindShapedFolder, folderOf(t.Raw)}.String())
	case KindFolder:
		wide = append(wide, Template{KindShapedFolder, Shape(t.Raw)}.String())
	}
	fixed := t.fixed()
	for i := len(fixed) - 1; i >= 0; i-- {
		if fixed[i] == '/' {
			wide = append(wide, Template{KindTree, fixed[:i+1]}.String())
		}
	}
	return wide
}
