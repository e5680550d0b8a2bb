// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// loader loads programs one by one, so that one that a kernel refuses takes no other with it, and shares the maps
// between them by name.
type loader struct {
	cfg      Config
	build    build
	kernel   *probe.Kernel
	family   probe.Family
	specs    map[string]*ebpf.CollectionSpec
	maps     map[string]*ebpf.Map
	programs map[string]*loaded
	// types is the kernel's type information, decoded once for all programs; it is large.
	types *btf.Cache
	// attached is what is attached already, by name.
	attached map[string]bool
	// pins is where maps are pinned; nil when they go with the agent.
	pins *pins
}

// build is a set of objects, and what tells it from others.
type build struct {
	loaders map[string]func() (*ebpf.CollectionSpec, error)
	digest  string
}

// loaded is a program and how it is attached.
type loaded struct {
	name    string
	spec    *ebpf.ProgramSpec
	program *ebpf.Program
	// whole is the object with this program alone, until it is loaded.
	whole *ebpf.CollectionSpec
	err   error
}

func newLoader(cfg Config, kernel *probe.Kernel) *loader {
	return &loader{
		cfg: cfg, build: cfg.build, kernel: kernel, family: min(cfg.Family, kernel.Best()),
		specs:    map[string]*ebpf.CollectionSpec{},
		maps:     map[string]*ebpf.Map{},
		programs: map[string]*loaded{},
		types:    btf.NewCache(),
		attached: map[string]bool{},
	}
}

// prepare gives the program "object/name" as it will be loaded. The error stays with it.
func (l *loader) prepare(name string) *loaded {
	if p, ok := l.programs[name]; ok {
		return p
	}
	p := &loaded{name: name}
	l.programs[name] = p
	if p.err = l.find(p); p.err != nil {
		p.err = fmt.Errorf("program %s: %w", name, p.err)
	}
	return p
}

func (l *loader) find(p *loaded) error {
	object, name, ok := strings.Cut(p.name, "/")
	if !ok {
		return errors.New("name is not of the form object/program")
	}
	whole, err := l.object(object)
	if err != nil {
		return err
	}
	program := whole.Programs[name]
	if program == nil {
		return fmt.Errorf("object %s has no such program", object)
	}
	// A copy of all programs for each of them would be most of what the start allocates.
	alone := *whole
	alone.Programs = map[string]*ebpf.ProgramSpec{name: program}
	p.whole = alone.Copy()
	p.spec = p.whole.Programs[name]
	return l.retarget(p.spec)
}

// load gives the program "object/name", loading it at the first call. The error stays with it.
func (l *loader) load(name string) *loaded {
	p := l.prepare(name)
	if p.err != nil || p.program != nil {
		return p
	}
	if p.whole == nil {
		p.err = l.find(p)
	}
	if p.err == nil {
		p.err = l.loadInto(p)
	}
	if p.err != nil {
		p.err = fmt.Errorf("program %s: %w", name, p.err)
	}
	return p
}

func (l *loader) loadInto(p *loaded) error {
	spec := p.whole
	if err := l.setConstants(p.spec, spec); err != nil {
		return err
	}
	maps := l.shared(spec)
	for name, m := range maps {
		// One that was pinned has the size that it was made with.
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps, Cache: l.types})
	if err != nil {
		return l.explain(p.spec, err)
	}
	defer collection.Close()
	if err := l.keepMaps(collection); err != nil {
		return err
	}
	p.program, p.whole = collection.DetachProgram(p.spec.Name), nil
	return nil
}

// object gives the parsed object with the sizes set that the configuration asks for.
func (l *loader) object(name string) (*ebpf.CollectionSpec, error) {
	if spec, ok := l.specs[name]; ok {
		return spec, nil
	}
	load, ok := l.build.loaders[name]
	if !ok {
		return nil, fmt.Errorf("no object %s", name)
	}
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("read object %s: %w", name, err)
	}
	if err := checkVersion(spec); err != nil {
		return nil, fmt.Errorf("object %s: %w", name, err)
	}
	for name, size := range l.cfg.mapSizes() {
		if m := spec.Maps[name]; m != nil {
			m.MaxEntries = size
		}
	}
	l.specs[name] = spec
	return spec, nil
}

// setConstants sets those of the constants that the object has.
func (l *loader) setConstants(program *ebpf.ProgramSpec, spec *ebpf.CollectionSpec) error {
	constants, err := l.constants()
	if err != nil {
		return err
	}
	constants["program_generation"] = uint32(0)
	if l.pins != nil && isGated(program) {
		constants["program_generation"] = l.pins.generation
	}
	for name, value := range constants {
		variable, ok := spec.Variables[name]
		if !ok {
			continue
		}
		if err := variable.Set(value); err != nil {
			return fmt.Errorf("constant %s: %w", name, err)
		}
	}
	return nil
}

// checkVersion refuses an object that was compiled with another wire.h.
func checkVersion(spec *ebpf.CollectionSpec) error {
	variable, ok := spec.Variables["wire_version"]
	if !ok {
		return errors.New("it carries no wire version")
	}
	var version uint32
	if err := variable.Get(&version); err != nil {
		return fmt.Errorf("read its wire version: %w", err)
	}
	if version != wire.Version {
		return fmt.Errorf("it speaks wire version %d, this agent %d: run make generate and build again", version, wire.Version)
	}
	return nil
}

// retarget turns an LSM program into one that modifies the return of the security_* function of the same name, where
// that is the family in use: both are called with the same arguments, followed by the verdict so far.
func (l *loader) retarget(spec *ebpf.ProgramSpec) error {
	if spec.Type != ebpf.LSM {
		return l.allowed(spec)
	}
	switch l.family {
	case probe.FamilyLSM:
		return nil
	case probe.FamilyModifyReturn:
		spec.Type, spec.AttachType = ebpf.Tracing, ebpf.AttachModifyReturn
		if voidHooks[spec.AttachTo] {
			spec.AttachType = ebpf.AttachTraceFEntry
		}
		spec.AttachTo = securityFunction(spec.AttachTo)
		return nil
	default:
		return l.noTrampoline()
	}
}

// securityFunction names the function that calls an LSM hook: by the hook's name but for this one.
func securityFunction(hook string) string {
	if hook == "bprm_check_security" {
		return "security_bprm_check"
	}
	return "security_" + hook
}

// allowed refuses programs that need a trampoline where that family is not in use.
func (l *loader) allowed(spec *ebpf.ProgramSpec) error {
	entry := spec.AttachType == ebpf.AttachTraceFEntry || spec.AttachType == ebpf.AttachTraceFExit
	if spec.Type == ebpf.Tracing && entry && l.family == probe.FamilySyscalls {
		return l.noTrampoline()
	}
	return nil
}

// noTrampoline says why not: because of the kernel, or because the configuration limits the family.
func (l *loader) noTrampoline() error {
	if l.cfg.Family < l.kernel.Best() {
		return fmt.Errorf("%w: the configuration limits hooks to %s", errNoTrampoline, l.cfg.Family)
	}
	return fmt.Errorf("%w: %s; %s", errNoTrampoline, l.kernel.Reason(probe.FamilyLSM), l.kernel.Reason(probe.FamilyModifyReturn))
}

var errNoTrampoline = errors.New("needs an LSM, fmod_ret or fentry hook")

// shared gives the maps that an earlier program brought. Constants belong to their object.
func (l *loader) shared(spec *ebpf.CollectionSpec) map[string]*ebpf.Map {
	replace := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m, ok := l.maps[name]; ok && !strings.HasPrefix(name, ".") {
			replace[name] = m
		}
	}
	return replace
}

func (l *loader) keepMaps(collection *ebpf.Collection) error {
	for name := range collection.Maps {
		if _, ok := l.maps[name]; ok || strings.HasPrefix(name, ".") {
			continue
		}
		if err := l.keep(name, collection.DetachMap(name)); err != nil {
			return err
		}
	}
	return nil
}

// forget gives up what was needed to load: some tens of megabytes. What is loaded later, if anything, reads it again.
func (l *loader) forget() {
	l.types, l.specs = btf.NewCache(), map[string]*ebpf.CollectionSpec{}
	for _, p := range l.programs {
		p.whole = nil
		if p.spec != nil {
			p.spec.Instructions = nil
		}
	}
}

func (l *loader) close() error {
	var errs []error
	for _, p := range l.programs {
		if p.program != nil {
			errs = append(errs, p.program.Close())
		}
	}
	for _, m := range l.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// explain keeps the last words of a verifier's log: they name the reason, the rest is for developers. Of a refusal it says
// which right is missing.
func (l *loader) explain(spec *ebpf.ProgramSpec, err error) error {
	if words := lastWords(err); words != nil {
		return words
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("load: %w", l.kernel.Explain(err, probe.Needs(spec.Type)...))
	}
	return err
}

// lastWords are those of a verifier's log; nil where there is none.
func lastWords(err error) error {
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) && len(verifier.Log) > 0 {
		last := verifier.Log[max(0, len(verifier.Log)-2):]
		return fmt.Errorf("%w: %s", verifier.Cause, strings.Join(last, "; "))
	}
	return nil
}
