// SPDX-License-Identifier: Apache-2.0

package export

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// The label that Kubernetes gives every namespace, and where its DNS service is unless the cluster's objects say otherwise.
const (
	namespaceLabel = "kubernetes.io/metadata.name"
	dnsNamespace   = "kube-system"
	dnsService     = "kube-dns"
	dnsPort        = 53
)

// The ports that Linux chooses from unless it is told otherwise (net.ipv4.ip_local_port_range).
const (
	firstChosen = 32768
	lastChosen  = 60999
)

// The addresses where clouds tell machines about themselves, credentials included.
const (
	metadata4 = "169.254.169.254/32"
	metadata6 = "fd00:ec2::254/128"
)

// pod is what the containers of a workload may do together: policies are about pods, and know neither their containers nor
// their executables.
type pod struct {
	// name is namespace/Kind/name.
	name     string
	key      profile.Key
	profiles []*profile.Profile
	known    Workload
	cluster  *Cluster
	strict   bool
	// contacts and listens are in order, each once.
	contacts []contact
	listens  []listen
	// asked are the names that the containers may ask a resolver for, in order.
	asked []string
	// unwritten are the texts of entries that the policy does not have.
	unwritten map[string]bool
	notes     notes
}

// owner is whose an entry is.
type owner struct{ container, process string }

// contact is whom the pod may contact.
type contact struct {
	profile.Egress
	text   string
	owners []owner
}

// listen is what the pod may listen on.
type listen struct {
	profile.Port
	text   string
	owners []owner
}

// newPod puts together what all profiles of one workload allow.
func newPod(profiles []*profile.Profile, o Options) (*pod, error) {
	list, err := effective(profiles)
	if err != nil {
		return nil, err
	}
	p := &pod{key: list[0].Key, profiles: list, cluster: o.Cluster, strict: o.Strict, unwritten: map[string]bool{}}
	p.key.Container = ""
	p.name = workloadKey(p.key.Namespace, p.key.Kind, p.key.Name)
	for i, q := range list {
		if own := workloadKey(q.Key.Namespace, q.Key.Kind, q.Key.Name); own != p.name {
			return nil, fmt.Errorf("profiles of %s and %s: one workload is expected", p.name, own)
		}
		if i > 0 && q.Key == list[i-1].Key {
			return nil, fmt.Errorf("%s stands twice", q.Key)
		}
	}
	if p.key.Namespace == "" {
		return nil, fmt.Errorf("%s: has no namespace: Kubernetes does not run it", p.name)
	}
	known := false
	if p.known, known = o.Cluster.workload(p.name); !known {
		return nil, fmt.Errorf("%s: %w", p.name, ErrLabels)
	}
	p.gather()
	return p, nil
}

// ErrLabels says that nothing tells which labels the pods of a workload have.
var ErrLabels = errors.New("the labels of its pods are not known")

// gather collects the contacts and listening ports of all processes of all containers.
func (p *pod) gather() {
	contacts, listens, asked := map[string]*contact{}, map[string]*listen{}, map[string]bool{}
	for _, q := range p.profiles {
		for _, process := range q.Processes {
			by := owner{q.Key.Container, process.Path}
			for _, e := range process.Egress {
				text := words(profile.Process{Egress: []profile.Egress{e}})
				if contacts[text] == nil {
					contacts[text] = &contact{Egress: e, text: text}
				}
				contacts[text].owners = append(contacts[text].owners, by)
				if e.Name != "" {
					asked[e.Name] = true
				}
			}
			for _, l := range process.Listen {
				text := words(profile.Process{Listen: []profile.Port{l}})
				if listens[text] == nil {
					listens[text] = &listen{Port: l, text: text}
				}
				listens[text].owners = append(listens[text].owners, by)
			}
		}
	}
	for _, c := range contacts {
		p.contacts = append(p.contacts, *c)
	}
	for _, l := range listens {
		p.listens = append(p.listens, *l)
	}
	slices.SortFunc(p.contacts, func(a, b contact) int { return strings.Compare(a.text, b.text) })
	slices.SortFunc(p.listens, func(a, b listen) int { return strings.Compare(a.text, b.text) })
	p.asked = slices.Sorted(maps.Keys(asked))
}

// said are the notes of a policy that has been written, with those on what it opens to more than the profiles do because it
// is about pods.
func (p *pod) said() []Note {
	for _, other := range p.cluster.also(p.key.Namespace, p.known.Selector, p.name) {
		p.notes.add(Note{Effect: Widened, Why: fmt.Sprintf("the pods of %s have the same labels, so that the policy holds for them, too", other)})
	}
	for _, c := range p.contacts {
		p.wider(c.owners, c.text)
	}
	for _, l := range p.listens {
		p.wider(l.owners, l.text)
	}
	return p.notes.sorted()
}

// wider notes an entry that stands in some containers or for some executables alone, if it was written.
func (p *pod) wider(owners []owner, text string) {
	if p.unwritten[text] {
		return
	}
	every := map[string]bool{}
	for _, o := range owners {
		every[o.container] = every[o.container] || o.process == profile.Any
	}
	for _, o := range owners {
		if p.everywhere(every) || every[o.container] && o.process != profile.Any {
			continue
		}
		p.notes.add(Note{
			Effect: Widened, Container: o.container, Process: processWords(o.process), Entry: text,
			Why: "for every process of the pod",
		})
	}
}

// everywhere reports whether an entry stands for every executable of every container.
func (p *pod) everywhere(every map[string]bool) bool {
	return !slices.ContainsFunc(p.profiles, func(q *profile.Profile) bool { return !every[q.Key.Container] })
}

// note notes what became of an entry, for each who has it.
func (p *pod) note(effect Effect, owners []owner, text, why string, args ...any) {
	if effect == LeftOut {
		p.unwritten[text] = true
	}
	for _, o := range owners {
		p.notes.add(Note{
			Effect: effect, Container: o.container, Process: processWords(o.process), Entry: text, Why: fmt.Sprintf(why, args...),
		})
	}
}

// port is a port of a policy: of every protocol if that is empty, every one of it if there is neither number nor name.
type port struct {
	protocol string
	number   uint16
	// last is the last of a range that begins with number; 0 for that one alone.
	last uint16
	name string
}

// policyPort is a protocol and port as policies know them; false for a protocol that they do not.
func policyPort(protocol string, number uint16) (port, bool) {
	switch protocol {
	case profile.AnyProtocol:
		return port{}, true
	case "tcp", "udp", "sctp":
		return port{protocol: protocol, number: number}, true
	default:
		return port{}, false
	}
}

// ingress are the ports to open, in order.
func (p *pod) ingress() []port {
	var ports []port
	for _, l := range p.listens {
		open, ok := policyPort(l.Protocol, l.Port.Port)
		switch {
		case !ok:
			p.note(LeftOut, l.owners, l.text, "policies know the protocols TCP, UDP and SCTP alone")
			continue
		case open.number == 0 && p.strict:
			p.note(LeftOut, l.owners, l.text, "its number is not known")
			continue
		case open.number == 0:
			p.note(Widened, l.owners, l.text, "%d to %d, from which Linux chooses unless it is told otherwise", firstChosen, lastChosen)
			open.number, open.last = firstChosen, lastChosen
		}
		ports = append(ports, open)
	}
	return ports
}

// behind is what a service stands for at a protocol and port.
type behind struct {
	namespace string
	selector  map[string]string
	ports     []port
	// external is the domain name that it stands for instead; problem says why it is not known what it stands for.
	external, problem string
	// unknown says that the service itself is not known.
	unknown bool
}

// service looks up what a service stands for. A policy is held against what arrives at a pod, which has the pod's port.
func (p *pod) service(key, protocol string, number uint16) behind {
	namespace, _, _ := strings.Cut(key, "/")
	b := behind{namespace: namespace}
	s, known := p.cluster.service(key)
	switch {
	case !known:
		b.unknown, b.problem = true, fmt.Sprintf("the service %s is not known", key)
		return b
	case s.External != "":
		b.external = s.External
		return b
	case len(s.Selector) == 0:
		b.problem = fmt.Sprintf("the service %s selects no pods", key)
		return b
	}
	b.selector = s.Selector
	for _, sp := range s.Ports {
		if (protocol == profile.AnyProtocol || protocol == sp.Protocol) && (number == 0 || number == sp.Port) {
			b.ports = append(b.ports, port{protocol: sp.Protocol, number: sp.Target, name: sp.TargetName})
		}
	}
	if s.Headless { // Who asks for it gets its pods' addresses, and contacts them at whatever port.
		if direct, ok := policyPort(protocol, number); ok {
			b.ports = append(b.ports, direct)
		}
	}
	if len(b.ports) == 0 {
		b.problem = fmt.Sprintf("the service %s has no such port", key)
	}
	return b
}

// dns is what a rule for the cluster's DNS service is made of.
type dns struct {
	behind
	why []string
}

// resolver reports what the rule for the cluster's DNS service should open and why; why is empty if there is no need of it.
func (p *pod) resolver() dns {
	d := dns{behind: p.service(dnsNamespace+"/"+dnsService, profile.AnyProtocol, dnsPort)}
	if d.problem != "" || d.external != "" {
		d.behind = behind{
			namespace: dnsNamespace, selector: map[string]string{"k8s-app": dnsService},
			ports: []port{{protocol: "udp", number: dnsPort}, {protocol: "tcp", number: dnsPort}},
		}
	}
	if len(p.asked) > 0 {
		d.why = append(d.why, "the profile names domains, which have to be asked for")
	}
	for _, c := range p.contacts {
		if address, ok := resolverAddress(c.Egress); ok {
			d.why = append(d.why, fmt.Sprintf("%s (%s) may be its address", c.text, address))
		}
	}
	return d
}

// noteDNS notes the rule for DNS.
func (p *pod) noteDNS(d dns) {
	p.notes.add(Note{Effect: Added, Why: fmt.Sprintf("DNS by the pods %s in the namespace %s at %s, since %s",
		labelWords(d.selector), d.namespace, portsWords(d.ports), strings.Join(d.why, "; "))})
}

// resolverAddress is the address of an entry that may be a resolver's: one address, at port 53.
func resolverAddress(e profile.Egress) (netip.Addr, bool) {
	prefix, err := netip.ParsePrefix(e.CIDR)
	if err != nil || !prefix.IsSingleIP() || e.Port != dnsPort || e.Protocol != "udp" && e.Protocol != "tcp" {
		return netip.Addr{}, false
	}
	return prefix.Addr(), true
}

// question reports whether an entry is there for the name to be asked for, as learning and people write it.
func question(e profile.Egress) bool {
	return e.Name != "" && e.Protocol == "udp" && e.Port == dnsPort
}

// block is a prefix without the metadata service's addresses in it, which no wider entry stands for; false if nothing of it
// ever leaves the pod.
func block(cidr string) (prefix netip.Prefix, except []string, leaves bool, err error) {
	prefix, err = netip.ParsePrefix(cidr)
	if err != nil {
		return prefix, nil, false, fmt.Errorf("prefix %q: %w", cidr, err)
	}
	if prefix.Addr().IsLoopback() && prefix.Bits() >= 8 || prefix.IsSingleIP() && prefix.Addr().IsUnspecified() {
		return prefix, nil, false, nil
	}
	for _, text := range []string{metadata4, metadata6} {
		metadata := netip.MustParsePrefix(text)
		if !prefix.IsSingleIP() && prefix.Contains(metadata.Addr()) {
			except = append(except, text)
		}
	}
	return prefix, except, true, nil
}

// labelWords are labels for people.
func labelWords(labels map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	return profile.ExactTemplate([]byte(strings.Join(parts, ",")))
}

func portsWords(ports []port) string {
	var parts []string
	for _, p := range ports {
		text := p.protocol
		switch {
		case p.name != "":
			text += " port " + profile.ExactTemplate([]byte(p.name))
		case p.number != 0:
			text += fmt.Sprintf(" port %d", p.number)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " and ")
}

// about are the lines at the head of a policy that say what it is.
func (p *pod) about(form string) []string {
	lines := []string{"Made by 'holdfast profile export --as " + form + "' of what these profiles allow:"}
	for _, q := range p.profiles {
		lines = append(lines, source(q, profile.SignalEgress))
	}
	lines = append(lines, "",
		fmt.Sprintf("It holds for the pods %s in the namespace %s: what it does not list is denied.", labelWords(p.known.Selector), p.key.Namespace))
	if missing := p.missing(); len(missing) > 0 {
		lines = append(lines, fmt.Sprintf("NOT IN IT: the pods have containers without a profile, whose contacts it denies: %s.", strings.Join(missing, ", ")))
	}
	if p.known.HostNetwork {
		lines = append(lines, "NO EFFECT: the pods have their node's network, where no policy holds.")
	}
	if rest := kindCounts(p.profiles, profile.ProcessEntry, profile.ParentEntry, profile.ArgumentEntry, profile.LibraryEntry,
		profile.FileEntry, profile.SocketEntry, profile.CapabilityEntry); rest != "" {
		lines = append(lines, "It says nothing of "+rest+" that the profiles list.")
	}
	return append(lines,
		"Services stand for the pods behind them, contacted in whatever way; a prefix for addresses outside the cluster: whether",
		"it holds for pods and services, too, is up to the network plugin, as is what becomes of other protocols than TCP, UDP and",
		"SCTP. Labels stand for all pods that have them, of workloads too that nobody told of. Profiles do not say who may contact",
		"the workload: what it listens on is open to everybody.")
}

// missing are the containers of the pods that no profile is given of.
func (p *pod) missing() []string {
	var list []string
	for _, c := range p.known.Containers {
		if !slices.ContainsFunc(p.profiles, func(q *profile.Profile) bool { return q.Key.Container == c.Name }) {
			list = append(list, profile.ExactTemplate([]byte(c.Name)))
		}
	}
	return list
}
