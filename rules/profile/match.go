// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Matcher holds deeds against one effective profile, as the kernel programs do. It may be used concurrently.
type Matcher struct {
	key     Key
	byPath  map[string]*actor
	any     *actor
	entries []Entry
}

// actor is a process with its templates and prefixes parsed.
type actor struct {
	Process
	templates []Template
	prefixes  []netip.Prefix
}

// NewMatcher prepares a profile for deeds to be held against it: an effective one, or a layer that is taken for one, whose
// candidates then count for nothing. ErrLimit says that it has too many entries.
func NewMatcher(p *Profile) (*Matcher, error) {
	effective, err := Effective(p, nil)
	if err != nil {
		return nil, err
	}
	m := &Matcher{key: p.Key, byPath: make(map[string]*actor), any: &actor{}, entries: effective.Entries()}
	for _, process := range effective.Processes {
		a := &actor{Process: process}
		for _, f := range process.Files {
			t, err := ParseTemplate(f.Path)
			if err != nil {
				return nil, fmt.Errorf("process %s: file %s: %w", process.Path, f.Path, err)
			}
			a.templates = append(a.templates, t)
		}
		for _, e := range process.Egress {
			var prefix netip.Prefix
			if e.CIDR != "" {
				if prefix, err = netip.ParsePrefix(e.CIDR); err != nil {
					return nil, fmt.Errorf("process %s: egress: %w", process.Path, err)
				}
			}
			a.prefixes = append(a.prefixes, prefix)
		}
		m.byPath[process.Path] = a
		if process.Path == Any {
			m.any = a
		}
	}
	return m, nil
}

// Judge holds a deed against the profile.
func (m *Matcher) Judge(d Deed) Verdict {
	if d.Source == "" {
		d.Source = FromImage
	}
	switch d.Kind {
	case DoExec:
		return m.exec(d)
	case DoScript:
		return m.script(d)
	case DoMap:
		return m.library(d)
	case DoFile:
		return m.file(d)
	case DoContact:
		return m.contact(d)
	case DoAsk:
		return m.ask(d)
	case DoListen:
		return m.listen(d)
	case DoSocket:
		return m.socket(d)
	case DoCapability:
		return m.capability(d)
	default:
		return Verdict{
			Signal: SignalProcess, Reason: ReasonUnknown,
			Why: fmt.Sprintf("no entry of a profile is about deeds of the kind %q", string(d.Kind)),
		}
	}
}

// actors are the process of the executable that acts, if there is one, and what is allowed to every one.
func (m *Matcher) actors(d Deed) []*actor {
	if a := m.byPath[d.Executable]; a != nil && d.Executable != Any {
		return []*actor{a, m.any}
	}
	return []*actor{m.any}
}

// drifted is the reason for a source that the profile does not list, and whether the protecting rules forbid it.
func drifted(s Source) (Reason, bool) {
	switch s {
	case FromMemory:
		return ReasonFileless, true
	case FromUpper:
		return ReasonDrift, true
	default:
		return ReasonDrift, false
	}
}

// runs reports whether the profile lists the executable with this parent; bits are the sources that it may come from.
func (m *Matcher) runs(path, parent string) (listed, by bool, bits uint8) {
	a := m.byPath[path]
	if a == nil || !a.Executable() {
		return false, false, 0
	}
	by = slices.ContainsFunc(a.Parents, func(p Parent) bool { return p.Path == Any || p.Path == parent })
	return true, by, sourceBits(a.Sources)
}

func (m *Matcher) exec(d Deed) Verdict {
	v := Verdict{Signal: SignalProcess}
	listed, by, bits := m.runs(d.Executable, d.Parent)
	source := bits&d.Source.Bit() != 0
	arguments := listed && m.takes(d)
	exe, parent := executableWords(d.Executable), executableWords(d.Parent)
	switch {
	case by && source && arguments:
		return Verdict{Allowed: true, Signal: SignalProcess}
	case by && source:
		v.Reason = ReasonArguments
		v.Why = fmt.Sprintf("%s is not run with arguments of this shape: %s", exe, Argument{Shape: d.Arguments}.words())
		if d.Withheld {
			v.Why = fmt.Sprintf("%s takes only the arguments that are listed, and these, which hold a secret, are not", exe)
		}
	case !source && (listed || d.Source == FromMemory || d.Source == FromUpper):
		v.Reason, v.Protect = drifted(d.Source)
		v.Why = fmt.Sprintf("%s comes from %s, and %s", exe, sourceWords(d.Source), sourcesWords(listed, bits))
	case listed:
		v.Reason = ReasonParent
		v.Why = fmt.Sprintf("%s is listed, but is not started by %s", exe, parent)
	default:
		v.Reason = ReasonExecutable
		v.Why = exe + " is not listed"
	}
	v.Nearest = m.nearestExec(d, v.Reason)
	v.Missing = m.missingExec(d, listed, by, source, arguments)
	return v
}

// takes reports whether the arguments are listed.
func (m *Matcher) takes(d Deed) bool {
	a := m.byPath[d.Executable]
	return a.AnyArguments || !d.Withheld && slices.ContainsFunc(a.Arguments, func(x Argument) bool {
		return slices.Equal(x.Shape, d.Arguments)
	})
}

// sourceWords say where a file comes from, for people.
func sourceWords(s Source) string {
	switch s {
	case FromUpper:
		return "what the container has written itself"
	case FromMemory:
		return "memory"
	case FromVolume:
		return "a volume"
	default:
		return "the image"
	}
}

func sourcesWords(listed bool, bits uint8) string {
	if !listed {
		return "is not listed"
	}
	var words []string
	for _, s := range sourceList(bits) {
		words = append(words, sourceWords(s))
	}
	return "may come only from " + strings.Join(words, " or ")
}

// missingExec holds what an exec lacks. A process that may run already is context for what it lacks.
func (m *Matcher) missingExec(d Deed, listed, by, source, arguments bool) *Profile {
	p := Process{Path: d.Executable, Seen: Provenance{Origin: Context}}
	if !listed || !source {
		p.Seen.Origin = Written
		p.Sources = sourcesOf(d.Source.Bit())
	}
	if !by && d.Parent != "" {
		p.Parents = []Parent{{Path: d.Parent, Seen: Provenance{Origin: Written}}}
	}
	switch {
	case arguments:
	case d.Withheld:
		p.AnyArguments = true
	default:
		p.Arguments = []Argument{{Shape: d.Arguments, Seen: Provenance{Origin: Written}}}
	}
	return m.missing(p)
}

// missing is an overlay of one process; nil if it would not be valid.
func (m *Matcher) missing(p Process) *Profile {
	if p.Path == "" {
		p.Path = Any
	}
	q := &Profile{Key: m.key, Processes: []Process{p}}
	q.Normalise()
	if q.Validate() != nil {
		return nil
	}
	return q
}

// lacking is the verdict on what an item of the process would allow.
func lacking[T item[T]](m *Matcher, d Deed, v Verdict, x T) Verdict {
	p := x.fragment(d.Executable)
	p.Seen = Provenance{Origin: Context}
	if d.Executable == "" {
		p.Path, p.Seen = Any, Provenance{Origin: Written}
	}
	v.Missing = m.missing(p)
	return v
}

func (m *Matcher) script(d Deed) Verdict {
	listed, by, bits := m.runs(d.Executable, d.Parent)
	source := bits&d.Source.Bit() != 0
	reason, protect := drifted(d.Source)
	if by && source || !protect {
		return Verdict{Allowed: true, Signal: SignalProcess}
	}
	v := Verdict{
		Signal: SignalProcess, Protect: true, Reason: reason,
		Why: fmt.Sprintf("the script %s comes from %s", executableWords(d.Executable), sourceWords(d.Source)),
	}
	v.Nearest = m.nearestExec(d, reason)
	// The arguments are those of the interpreter.
	d.Withheld = true
	v.Missing = m.missingExec(d, listed, by, source, listed)
	return v
}

func (m *Matcher) library(d Deed) Verdict {
	if d.Source == FromImage || slices.ContainsFunc(m.actors(d), func(a *actor) bool {
		return slices.ContainsFunc(a.Libraries, func(l Library) bool { return l.Path == d.Path })
	}) {
		return Verdict{Allowed: true, Signal: SignalProcess}
	}
	v := Verdict{
		Signal: SignalProcess, Reason: ReasonLibrary,
		Why: fmt.Sprintf("%s comes from %s and is not listed as code that %s loads",
			executableWords(d.Path), sourceWords(d.Source), actorWords(d)),
	}
	v.Nearest = m.nearest(d, LibraryEntry, func(e Entry) int { return likePath(e.part.Libraries[0].Path, d.Path) })
	return lacking(m, d, v, Library{Path: d.Path, Seen: Provenance{Origin: Written}})
}

// actorWords name who acts, for people.
func actorWords(d Deed) string {
	if d.Executable == "" {
		return "an executable that is not known"
	}
	return executableWords(d.Executable)
}

func (m *Matcher) file(d Deed) Verdict {
	v := Verdict{Allowed: true, Signal: SignalFile, Protect: d.Protected}
	want := d.Access
	if !d.Protected {
		want &^= Read
	}
	for _, a := range m.actors(d) {
		for i := 0; i < len(a.Files) && want != 0; i++ {
			if want&a.Files[i].Access != 0 && a.templates[i].Matches([]byte(d.Path)) {
				want &^= a.Files[i].Access
			}
		}
	}
	if want == 0 {
		v.Protect = false
		return v
	}
	v.Allowed, v.Reason = false, ReasonFile
	if d.Protected {
		v.Reason = ReasonProtectedFile
	}
	text := ExactTemplate([]byte(d.Path))
	v.Why = fmt.Sprintf("%s is not listed to %s %s", actorWords(d), want, text)
	v.Nearest = m.nearest(d, FileEntry, func(e Entry) int {
		return likePath(e.part.Files[0].Path, text)
	})
	return lacking(m, d, v, File{Path: text, Access: want, Seen: Provenance{Origin: Written}})
}

// reaches reports whether an entry stands for whom the deed contacts.
func (a *actor) reaches(i int, d Deed) bool {
	e := a.Egress[i]
	if e.Protocol != AnyProtocol && e.Protocol != d.Protocol || e.Port != 0 && e.Port != d.Port {
		return false
	}
	switch {
	case e.Name != "":
		return slices.ContainsFunc(d.Names, func(name string) bool { return standsFor(e.Name, name) })
	case e.Service != "":
		return slices.Contains(d.Services, e.Service)
	case e.Workload != "":
		return slices.Contains(d.Workloads, e.Workload)
	default:
		return a.prefixes[i].Contains(d.Address.Unmap().WithZone(""))
	}
}

// standsFor reports whether a name of an entry is, or stands for, a domain name.
func standsFor(entry, name string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if below, ok := strings.CutPrefix(entry, "*"); ok {
		return len(name) > len(below) && strings.HasSuffix(name, below)
	}
	return entry == name
}

func (m *Matcher) contact(d Deed) Verdict {
	address := d.Address.Unmap()
	if address.IsLoopback() || address.IsUnspecified() {
		return Verdict{Allowed: true, Signal: SignalEgress}
	}
	listed, exact := false, false
	for _, a := range m.actors(d) {
		for i := range a.Egress {
			if a.reaches(i, d) {
				listed = true
				exact = exact || a.prefixes[i].IsValid() && a.prefixes[i].IsSingleIP()
			}
		}
	}
	v := Verdict{Signal: SignalEgress}
	whom := address.String()
	if len(d.Names) > 0 {
		whom = d.Names[0] + " (" + whom + ")"
	}
	whom = d.Protocol + " " + whom + portWords(d.Protocol, d.Port)
	switch {
	case isMetadata(address) && !exact:
		v.Protect, v.Reason = true, ReasonMetadata
		v.Why = fmt.Sprintf("%s is not listed, as an address by itself, to contact the metadata service: %s", actorWords(d), whom)
	case listed:
		return Verdict{Allowed: true, Signal: SignalEgress}
	default:
		v.Reason = ReasonAddress
		v.Why = fmt.Sprintf("%s is not listed to contact %s", actorWords(d), whom)
	}
	missing := Egress{Protocol: d.Protocol, Port: d.Port, Seen: Provenance{Origin: Written}}
	switch {
	case v.Reason != ReasonMetadata && len(d.Names) > 0:
		missing.Name = strings.ToLower(strings.TrimSuffix(d.Names[0], "."))
	case v.Reason != ReasonMetadata && len(d.Services) > 0:
		missing.Service = d.Services[0]
	case v.Reason != ReasonMetadata && len(d.Workloads) > 0:
		missing.Workload = d.Workloads[0]
	case address.IsValid():
		missing.CIDR = netip.PrefixFrom(address.WithZone(""), address.BitLen()).String()
	}
	v.Nearest = m.nearest(d, EgressEntry, func(e Entry) int { return likePeer(e.part.Egress[0], missing, address) })
	return lacking(m, d, v, missing)
}

// ask judges a question: a name that anybody may contact may be asked for by every one.
func (m *Matcher) ask(d Deed) Verdict {
	v := Verdict{Signal: SignalEgress, Reason: ReasonDomain}
	if len(d.Names) != 1 {
		v.Why = "it is not known which name was asked for"
		return v
	}
	for _, a := range m.byPath {
		if slices.ContainsFunc(a.Egress, func(e Egress) bool { return e.Name != "" && standsFor(e.Name, d.Names[0]) }) {
			return Verdict{Allowed: true, Signal: SignalEgress}
		}
	}
	name := strings.ToLower(strings.TrimSuffix(d.Names[0], "."))
	v.Why = fmt.Sprintf("nobody is listed to contact %s, so nobody may ask for it", name)
	// As learning writes it: this lets the name be asked for, and opens nothing else.
	missing := Egress{Name: name, Protocol: "udp", Port: 53, Seen: Provenance{Origin: Written}}
	v.Nearest = m.nearest(d, EgressEntry, func(e Entry) int { return likePeer(e.part.Egress[0], missing, netip.Addr{}) })
	return lacking(m, d, v, missing)
}

func (m *Matcher) listen(d Deed) Verdict {
	want := Port{Protocol: d.Protocol, Port: d.Port, Seen: Provenance{Origin: Written}}
	if slices.ContainsFunc(m.actors(d), func(a *actor) bool {
		return slices.ContainsFunc(a.Listen, func(p Port) bool { return p.Protocol == d.Protocol && p.Port == d.Port })
	}) {
		return Verdict{Allowed: true, Signal: SignalEgress}
	}
	v := Verdict{
		Signal: SignalEgress, Reason: ReasonListen,
		Why: fmt.Sprintf("%s is not listed to listen on %s", actorWords(d), want.words()),
	}
	v.Nearest = m.nearest(d, ListenEntry, func(e Entry) int {
		return 1 + btoi(e.part.Listen[0].Port == d.Port) + btoi(e.part.Listen[0].Protocol == d.Protocol)
	})
	return lacking(m, d, v, want)
}

func (m *Matcher) socket(d Deed) Verdict {
	raw := d.Family == "packet" || (d.Family == "inet" || d.Family == "inet6") && d.SocketKind == "raw"
	ordinary := d.Family == "unix" || !raw && (d.Family == "inet" || d.Family == "inet6") &&
		(d.Protocol == "" || d.Protocol == "tcp" || d.Protocol == "udp")
	if ordinary || slices.ContainsFunc(m.actors(d), func(a *actor) bool {
		return slices.ContainsFunc(a.Sockets, func(s Socket) bool { return s.Family == d.Family && s.Kind == d.SocketKind })
	}) {
		return Verdict{Allowed: true, Signal: SignalEgress}
	}
	want := Socket{Family: d.Family, Kind: d.SocketKind, Seen: Provenance{Origin: Written}}
	v := Verdict{
		Signal: SignalEgress, Protect: raw, Reason: ReasonSocket,
		Why: fmt.Sprintf("%s is not listed to make sockets of %s", actorWords(d), want.words()),
	}
	if raw {
		v.Reason = ReasonRawSocket
	}
	v.Nearest = m.nearest(d, SocketEntry, func(e Entry) int { return btoi(e.part.Sockets[0].Family == d.Family) })
	return lacking(m, d, v, want)
}

func (m *Matcher) capability(d Deed) Verdict {
	if slices.ContainsFunc(m.actors(d), func(a *actor) bool {
		return slices.ContainsFunc(a.Capabilities, func(c Capability) bool { return c.Name == d.Capability })
	}) {
		return Verdict{Allowed: true, Signal: SignalProcess}
	}
	v := Verdict{
		Signal: SignalProcess, Reason: ReasonCapability,
		Why: fmt.Sprintf("%s is not listed to use the capability %s", actorWords(d), d.Capability),
	}
	v.Nearest = m.nearest(d, CapabilityEntry, func(e Entry) int { return btoi(e.part.Capabilities[0].Name == d.Capability) })
	return lacking(m, d, v, Capability{Name: d.Capability, Seen: Provenance{Origin: Written}})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
