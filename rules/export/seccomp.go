// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	_ "embed" // the runtime's default
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// runtimeDefault is what container runtimes let a container do by default, as a test makes it of the profile that they
// share: every rule but those of the calls that make sockets.
//
//go:embed runtimedefault.json
var runtimeDefault []byte

// defaultRule is a rule of the default: what it says of calls, for containers with a capability, or without one.
type defaultRule struct {
	Names []string `json:"names"`
	// Errno is the error to return; the calls are allowed if it is 0.
	Errno uint                    `json:"errno,omitempty"`
	Args  []specs.LinuxSeccompArg `json:"args,omitempty"`
	// With and Without name a capability, as profiles do.
	With    string `json:"with,omitempty"`
	Without string `json:"without,omitempty"`
}

// seccompFile is a profile in the form of the OCI runtime specification, which container runtimes read, with a comment
// that they pass over.
type seccompFile struct {
	Comment []string `json:"comment"`
	specs.LinuxSeccomp
	Syscalls []seccompRule `json:"syscalls"`
}

type seccompRule struct {
	Comment string `json:"comment,omitempty"`
	specs.LinuxSyscall
}

// The numbers of the error that a call gets which is not allowed, of the socket families and kinds that need no entry, of
// the protocols that they may be for, and the bits of a socket's type that are its kind.
const (
	eperm     = 1
	afUnix    = 1
	afInet    = 2
	afInet6   = 10
	sockTypes = 0xf
)

// Seccomp writes the profile of one container as a seccomp profile for a kubelet's localhostProfile, Docker or containerd.
//
// Holdfast does not learn system calls. So the outcome is what container runtimes allow by default, made tighter by what
// the profile does tell: which sockets are made. It never allows less than a workload needs that keeps to its profile,
// other than what the comment lists.
func Seccomp(profiles []*profile.Profile, o Options) (Output, error) {
	list, err := effective(profiles)
	if err != nil {
		return Output{}, err
	}
	if len(list) != 1 {
		return Output{}, errors.New("a seccomp profile is of one container")
	}
	w := &seccompWriter{profile: list[0]}
	w.known, w.isKnown = o.Cluster.container(list[0].Key)
	if w.isKnown && w.known.Privileged {
		return Output{}, fmt.Errorf("%s: the container is privileged, and runtimes apply no seccomp profile to it", list[0].Key)
	}
	w.capabilities()
	w.notes.add(Note{Effect: LeftOut, Entry: "socketcall", Why: "32-bit programs of x86 that make sockets by way of it get none: " +
		"no filter sees what it is to make"})
	rules, err := w.rules()
	if err != nil {
		return Output{}, fmt.Errorf("%s: %w", list[0].Key, err)
	}
	notes := w.notes.sorted()
	file := seccompFile{
		Comment: comment(w.about(), notes),
		LinuxSeccomp: specs.LinuxSeccomp{
			DefaultAction: specs.ActErrno, DefaultErrnoRet: new(uint(eperm)),
			Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32, specs.ArchAARCH64, specs.ArchARM},
		},
		Syscalls: rules,
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // It is no web page, and profiles are full of <n>.
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(file); err != nil {
		return Output{}, fmt.Errorf("%s: encode: %w", list[0].Key, err)
	}
	return Output{Text: text.String(), Notes: notes}, nil
}

type seccompWriter struct {
	profile *profile.Profile
	known   Container
	isKnown bool
	// has are the capabilities that the container is taken to have.
	has   map[string]bool
	notes notes
}

// usual are the capabilities that containers have unless they are told otherwise, as far as a rule of the default asks for
// them.
var usual = [...]string{"sys_chroot"}

// capabilities finds out which capabilities the container is taken to have. Kernels tell who gains a capability, not who
// uses one, so that profiles list none unless a person wrote it: that none is listed does not say that none is used. What
// the container was given counts, therefore, where that is known.
func (w *seccompWriter) capabilities() {
	w.has = map[string]bool{}
	for _, name := range usual {
		w.has[name] = !slices.Contains(w.known.Drop, "all") && !slices.Contains(w.known.Drop, name)
	}
	for _, name := range w.known.Add {
		w.has[name] = true
	}
	for _, process := range w.profile.Processes {
		for _, c := range process.Capabilities {
			w.has[c.Name] = true
			w.wider(process.Path, words(profile.Process{Capabilities: []profile.Capability{c}}),
				"the calls that it opens are open to every process of the container")
		}
	}
}

func (w *seccompWriter) wider(path, entry, why string) {
	if path != profile.Any {
		w.notes.add(Note{Effect: Widened, Container: w.profile.Key.Container, Process: processWords(path), Entry: entry, Why: why})
	}
}

// having reports whether the container has a capability.
func (w *seccompWriter) having(name string) bool { return w.has[name] || w.has["all"] }

func (w *seccompWriter) rules() ([]seccompRule, error) {
	var base []defaultRule
	if err := json.Unmarshal(runtimeDefault, &base); err != nil {
		return nil, fmt.Errorf("the runtime's default: %w", err)
	}
	var rules []seccompRule
	for _, r := range base {
		if r.With != "" && !w.having(r.With) || r.Without != "" && w.having(r.Without) {
			continue
		}
		rule := seccompRule{LinuxSyscall: specs.LinuxSyscall{Names: r.Names, Action: specs.ActAllow, Args: r.Args}}
		if r.Errno != 0 {
			rule.Action, rule.ErrnoRet = specs.ActErrno, &r.Errno
		}
		if r.With != "" {
			rule.Comment = "the container has the capability " + r.With
		}
		rules = append(rules, rule)
	}
	sockets, err := w.sockets()
	return append(rules, sockets...), err
}

// sockets are the rules for the calls that make sockets: of the families that the profile lists, of UNIX, and of TCP and UDP.
func (w *seccompWriter) sockets() ([]seccompRule, error) {
	pair := []string{"socket", "socketpair"}
	rules := []seccompRule{socketRule(pair, "UNIX sockets need no entry in a profile", equal(0, afUnix))}
	for _, family := range []uint64{afInet, afInet6} {
		for _, kind := range []struct{ number, protocol uint64 }{{1, 6}, {2, 17}} {
			for _, protocol := range []uint64{0, kind.protocol} {
				rules = append(rules, socketRule(pair[:1], "TCP and UDP need no entry in a profile",
					equal(0, family), masked(1, sockTypes, kind.number), equal(2, protocol)))
			}
		}
	}
	listed := map[string]profile.Socket{}
	for _, process := range w.profile.Processes {
		for _, s := range process.Sockets {
			text := words(profile.Process{Sockets: []profile.Socket{s}})
			listed[text] = s
			w.wider(process.Path, text, "every process of the container may make one")
		}
	}
	for _, text := range slices.Sorted(maps.Keys(listed)) {
		family, err := profile.FamilyNumber(listed[text].Family)
		if err != nil {
			return nil, err
		}
		kind, err := profile.SocketKindNumber(listed[text].Kind)
		if err != nil {
			return nil, err
		}
		rules = append(rules, socketRule(pair, "the profile lists "+text, equal(0, uint64(family)), masked(1, sockTypes, uint64(kind))))
		if name := listed[text].Family; name == "alg" || name == "vsock" {
			w.notes.add(Note{Effect: Widened, Entry: text, Why: "the profile allows it, where the runtime's default does not"})
		}
	}
	return rules, nil
}

func socketRule(names []string, comment string, args ...specs.LinuxSeccompArg) seccompRule {
	return seccompRule{Comment: comment, LinuxSyscall: specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: args}}
}

func equal(index uint, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: value, Op: specs.OpEqualTo}
}

func masked(index uint, mask, value uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: index, Value: mask, ValueTwo: value, Op: specs.OpMaskedEqual}
}

// about are the lines at the head that say what the profile is, and what it cannot say.
func (w *seccompWriter) about() []string {
	lines := []string{
		"Made by 'holdfast profile export --as seccomp' of what this profile allows:",
		source(w.profile, profile.SignalProcess, profile.SignalEgress), "",
		"Holdfast does not learn system calls. This is what container runtimes allow by default, and of that only the sockets that",
		"the profile lists: UNIX, TCP and UDP need no entry; every other family, raw sockets and other protocols do.",
	}
	if !slices.ContainsFunc(w.profile.Processes, func(p profile.Process) bool { return len(p.Sockets) > 0 }) {
		lines = append(lines, "It lists no such socket. That rests on learning: was the egress signal stable, on nodes that see sockets?")
	}
	lines = append(lines, w.privileges()...)
	rest := kindCounts([]*profile.Profile{w.profile}, profile.ProcessEntry, profile.ParentEntry, profile.ArgumentEntry,
		profile.LibraryEntry, profile.FileEntry, profile.EgressEntry, profile.ListenEntry)
	if rest != "" {
		lines = append(lines, "It says nothing of "+rest+" that the profile lists: a filter sees numbers, no paths and no addresses.")
	}
	return append(lines, "ptrace and its like stay as the default has them: processes of one user need no capability for them.")
}

// privileges say which calls are shut because the container is not taken to have their capability.
func (w *seccompWriter) privileges() []string {
	var base []defaultRule
	if err := json.Unmarshal(runtimeDefault, &base); err != nil {
		return nil // rules has said so.
	}
	var open, shut []string
	for _, r := range base {
		switch {
		case r.With == "":
		case w.having(r.With):
			open = append(open, r.With)
		default:
			shut = append(shut, r.With)
		}
	}
	given := "The container's capabilities are not known: those count that containers have by default, and those that the profile lists;"
	if w.isKnown {
		given = "Those capabilities count that the container is given, and those that the profile lists;"
	}
	lines := []string{given, "learning lists none, for kernels tell who gains a capability and not who uses one."}
	if len(open) > 0 {
		lines = append(lines, "Open are the calls for "+strings.Join(open, ", ")+".")
	}
	return append(lines, "Shut are the calls that need "+strings.Join(shut, ", ")+".")
}
