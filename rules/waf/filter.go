// SPDX-License-Identifier: Apache-2.0

package waf

import (
	"errors"
	"fmt"
	"slices"
)

// Bounds that Config's zero values stand for.
const (
	DefaultLevel     = 1
	DefaultMaxHits   = 16
	DefaultMaxValues = 1024
	DefaultMaxText   = 1 << 20
)

// maxValue is how much of one value the evaluators look at. Injections stand at a value's beginning.
const maxValue = 8 << 10

// Config says what a filter looks for. Its zero value is the default.
type Config struct {
	// Level is 1 or 2; see Rule.Level. 0 is 1.
	Level int
	// Disable are ids of rules and names of families that are off.
	Disable []string
	// MaxHits is how many hits one request gives at most, 0 for DefaultMaxHits.
	MaxHits int
	// MaxValues is how many parameters, cookies or strings of one text are evaluated, 0 for DefaultMaxValues.
	MaxValues int
	// MaxText is how many bytes of one text are looked at, 0 for DefaultMaxText.
	MaxText int
}

// Pair is a header.
type Pair struct{ Name, Value []byte }

// Request is one request as it came, nothing decoded. The filter keeps none of it.
type Request struct {
	Method, Target, Host []byte
	// Version is the protocol's, as HTTP/1.1 has it; the filter does not need it.
	Version []byte
	Headers []Pair
	// ContentType is the body's, and empty if the request has none.
	ContentType []byte
	// Body is the body without its transfer coding and content coding, or the beginning of it.
	Body []byte
}

// Kind is the place of a text in a request.
type Kind uint8

// The kinds of text. A Value is a string of a structured body, such as JSON; a Body is text without structure that the
// filter knows, and a File what a form uploads.
const (
	Path Kind = iota
	Query
	Param
	ParamName
	Field
	Value
	Header
	Cookie
	Body
	File
	kindCount
)

// String is the kind's name.
func (k Kind) String() string {
	names := [kindCount]string{
		"path", "query", "parameter", "parameter name", "form field", "value", "header", "cookie", "body", "file",
	}
	if k >= kindCount {
		return "unknown"
	}
	return names[k]
}

// Hit is one rule that a request met.
type Hit struct {
	Rule *Rule
	Kind Kind
	// Name is the parameter's, header's or cookie's, escaped, at most 64 bytes.
	Name string
	// Evidence is what was recognised, escaped to printable ASCII, without secrets and long numbers, at most 120 bytes.
	Evidence string
}

// Filter finds attacks in requests. It is for one goroutine at a time.
type Filter struct {
	cfg     Config
	machine *automaton
	rules   []Rule
	off     [ruleCount]bool
	scratch [slots][3][]byte
	values  []byte
	t       text
	hits    []Hit
	first   int // where this request's hits begin in hits
}

// The scratch buffers of texts that are in use at the same time: a whole text, one value of it, what a value decodes to.
const (
	slotWhole = iota
	slotValue
	slotInner
	slots
)

// The names under which the authority of a request and the names of uploaded files are reported.
var (
	hostName = []byte("host")
	fileName = []byte("filename")
)

// text is what the evaluators look at.
type text struct {
	kind    Kind
	name    []byte
	b       []byte
	strange odd
	mask    families
}

// Compile builds a filter. It fails if the config names a rule that there is not, or a bound is negative.
func Compile(cfg Config) (*Filter, error) {
	if cfg.Level < 0 || cfg.Level > 2 {
		return nil, fmt.Errorf("waf level %d: it is 1 or 2", cfg.Level)
	}
	if cfg.MaxHits < 0 || cfg.MaxValues < 0 || cfg.MaxText < 0 {
		return nil, errors.New("waf: a bound is negative")
	}
	cfg.Level = or(cfg.Level, DefaultLevel)
	cfg.MaxHits = or(cfg.MaxHits, DefaultMaxHits)
	cfg.MaxValues = or(cfg.MaxValues, DefaultMaxValues)
	cfg.MaxText = or(cfg.MaxText, DefaultMaxText)
	f := &Filter{cfg: cfg, rules: ruleTable()}
	for i, r := range f.rules {
		f.off[i] = r.Level > cfg.Level
	}
	for _, name := range cfg.Disable {
		if !f.disable(name) {
			return nil, fmt.Errorf("waf: disable %q: no such rule or family", name)
		}
	}
	f.machine = newAutomaton(literalTable())
	if f.machine == nil {
		return nil, errors.New("waf: the literals use too many classes of bytes")
	}
	return f, nil
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

func (f *Filter) disable(name string) bool {
	known := false
	for i, r := range f.rules {
		if r.ID == name || r.Family.String() == name {
			f.off[i], known = true, true
		}
	}
	return known
}

// Clone returns a filter for another goroutine, that shares the tables.
func (f *Filter) Clone() *Filter {
	return &Filter{cfg: f.cfg, machine: f.machine, rules: f.rules, off: f.off}
}

// Rules are all rules, those that are off too.
func (f *Filter) Rules() []Rule { return slices.Clone(f.rules) }

// Request appends the request's hits to dst. One rule gives one hit for one name.
func (f *Filter) Request(dst []Hit, r *Request) []Hit {
	f.begin(dst)
	f.target(r.Target)
	for i := range r.Headers {
		f.header(r.Headers[i].Name, r.Headers[i].Value)
	}
	f.framing(r.Headers)
	if len(r.Host) > 0 {
		f.whole(Header, hostName, r.Host, percent)
	}
	f.body(r.ContentType, f.clip(r.Body))
	return f.end()
}

// Text appends the hits of one text of a request to dst, for callers that take requests apart themselves. Queries,
// form bodies and the like are expected in their parts. The name is the parameter's, header's or cookie's.
func (f *Filter) Text(dst []Hit, kind Kind, name, b []byte) []Hit {
	f.begin(dst)
	b = f.clip(b)
	switch kind {
	case Path, Query:
		f.target(b)
	case Header:
		f.header(name, b)
	case Param, Field:
		f.pair(kind, name, b, percent)
	case Value:
		f.whole(kind, name, b, escapes|percent)
	case Body:
		f.raw(b)
	default:
		f.whole(kind, name, b, percent)
	}
	return f.end()
}

func (f *Filter) begin(dst []Hit) { f.hits, f.first = dst, len(dst) }

func (f *Filter) end() []Hit {
	hits := f.hits
	f.hits, f.t = nil, text{}
	return hits
}

func (f *Filter) clip(b []byte) []byte { return b[:min(len(b), f.cfg.MaxText)] }

// whole normalises a text that is one value, and evaluates it if it is a candidate.
func (f *Filter) whole(kind Kind, name, b []byte, how form) {
	b, strange := f.normalise(slotWhole, b, how)
	mask := f.machine.scan(b) & meant[kind]
	if strange != 0 && kind == Path {
		mask |= 1 << Traversal
	}
	mask |= marked(kind, name, b)
	if mask != 0 {
		f.evaluate(text{kind: kind, name: name, b: b, strange: strange, mask: mask})
	}
}

// value normalises one of the values of a text that is a candidate as a whole, and evaluates it.
func (f *Filter) value(kind Kind, name, b []byte, how form, mask families) {
	b, strange := f.normalise(slotValue, b, how)
	f.evaluate(text{kind: kind, name: name, b: b, strange: strange, mask: mask & meant[kind]})
}

// evaluate asks the families that a text is a candidate for what it means.
func (f *Filter) evaluate(t text) {
	if t.kind != File && t.kind != Body && len(t.b) > maxValue {
		t.b = t.b[:maxValue]
	}
	f.t = t
	if t.mask&maskEncoded != 0 {
		f.encoded()
		f.t = t
	}
	mask := t.mask &^ (maskEncoded | maskClass)
	for family := Family(0); mask != 0 && family < familyCount; family++ {
		if mask&(1<<family) == 0 {
			continue
		}
		mask &^= 1 << family
		f.family(family, &f.t)
	}
}

func (f *Filter) family(family Family, t *text) {
	switch family {
	case Log4Shell:
		f.lookups(t)
	case Traversal:
		f.paths(t)
	case SQLInjection:
		f.sql(t)
	case CommandInjection:
		f.commands(t)
	case RequestForgery:
		f.addresses(t)
	case Deserialisation:
		f.objects(t)
	case WebShell:
		f.shells(t)
	case TemplateInjection:
		f.templates(t)
	case ExternalEntity:
		f.entities(t)
	case ResponseSplitting:
		f.split(t)
	case Smuggling:
		f.embedded(t)
	case ClassLoader:
		f.spring(t)
	case ShellShock:
		f.shellshock(t)
	case OGNL:
		f.ognl(t)
	case Scanner:
		f.scanner(t)
	}
}

// report adds a hit for the bytes from start to end of the text.
func (f *Filter) report(t *text, rule int, start, end int) {
	if f.off[rule] || len(f.hits)-f.first >= f.cfg.MaxHits {
		return
	}
	r := &f.rules[rule]
	for _, h := range f.hits[f.first:] {
		if h.Rule == r && h.Kind == t.kind && h.Name == string(t.name) {
			return
		}
	}
	f.hits = append(f.hits, Hit{
		Rule: r, Kind: t.kind, Name: escape(t.name, 0, len(t.name), 64), Evidence: escape(t.b, start, end, maxEvidence),
	})
}
