// SPDX-License-Identifier: Apache-2.0

package export

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// mostCiliumPorts is how many ports one list of a rule may have.
const mostCiliumPorts = 40

// ciliumNamespace is the label by which Cilium knows the namespace of a pod; k8s is where labels come from that pods have.
const (
	ciliumNamespace = "k8s:io.kubernetes.pod.namespace"
	ciliumLabel     = "k8s:"
)

// CiliumPolicy is a CiliumNetworkPolicy of cilium.io/v2, as far as it is used here.
type CiliumPolicy struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   CiliumMetadata `json:"metadata"`
	Spec       CiliumSpec     `json:"spec"`
}

// CiliumMetadata names a policy.
type CiliumMetadata struct {
	Name      string            `json:"name"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// CiliumSpec is what a policy says. A direction with an empty rule is denied but for what the other rules allow.
type CiliumSpec struct {
	EndpointSelector CiliumSelector  `json:"endpointSelector"`
	Ingress          []CiliumIngress `json:"ingress"`
	Egress           []CiliumEgress  `json:"egress"`
}

// CiliumSelector selects pods by labels that say where they come from.
type CiliumSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// CiliumIngress allows contacts from outside.
type CiliumIngress struct {
	FromEntities []string      `json:"fromEntities,omitempty"`
	ToPorts      []CiliumPorts `json:"toPorts,omitempty"`
}

// CiliumEgress allows contacts of others: one of the lists of peers is set.
type CiliumEgress struct {
	ToEndpoints []CiliumSelector `json:"toEndpoints,omitempty"`
	ToFQDNs     []CiliumName     `json:"toFQDNs,omitempty"`
	ToCIDR      []string         `json:"toCIDR,omitempty"`
	ToCIDRSet   []CiliumPrefix   `json:"toCIDRSet,omitempty"`
	ToServices  []CiliumService  `json:"toServices,omitempty"`
	ToPorts     []CiliumPorts    `json:"toPorts,omitempty"`
}

// CiliumName is a domain name, or a pattern of such.
type CiliumName struct {
	MatchName    string `json:"matchName,omitempty"`
	MatchPattern string `json:"matchPattern,omitempty"`
}

// CiliumPrefix is a prefix without others that are in it.
type CiliumPrefix struct {
	CIDR   string   `json:"cidr"`
	Except []string `json:"except,omitempty"`
}

// CiliumService names a service of the cluster.
type CiliumService struct {
	K8sService CiliumServiceName `json:"k8sService"`
}

// CiliumServiceName is the name of a service.
type CiliumServiceName struct {
	ServiceName string `json:"serviceName"`
	Namespace   string `json:"namespace"`
}

// CiliumPorts are ports, and what may be asked for there.
type CiliumPorts struct {
	Ports []CiliumPort `json:"ports"`
	Rules *CiliumRules `json:"rules,omitempty"`
}

// CiliumPort is a port, by number or name; 0 stands for every one.
type CiliumPort struct {
	Port     string `json:"port"`
	EndPort  int32  `json:"endPort,omitempty"`
	Protocol string `json:"protocol"`
}

// CiliumRules are the names that may be asked for.
type CiliumRules struct {
	DNS []CiliumName `json:"dns"`
}

// Cilium writes the profiles of the containers of one workload as a CiliumNetworkPolicy: whom its pods contact, by name
// too, and what they listen on. ErrLabels says that o.Cluster does not know the workload.
func Cilium(profiles []*profile.Profile, o Options) (Output, error) {
	p, err := newPod(profiles, o)
	if err != nil {
		return Output{}, err
	}
	name, err := p.objectName()
	if err != nil {
		return Output{}, err
	}
	w := &ciliumWriter{pod: p, rules: rules[CiliumEgress]{}}
	policy := CiliumPolicy{
		APIVersion: "cilium.io/v2", Kind: "CiliumNetworkPolicy",
		Metadata: CiliumMetadata{Name: name, Namespace: p.key.Namespace, Labels: objectLabels()},
		Spec: CiliumSpec{
			EndpointSelector: CiliumSelector{MatchLabels: ciliumLabels("", p.known.Selector)}, Ingress: []CiliumIngress{{}},
		},
	}
	if ports := p.ingress(); len(ports) > 0 {
		policy.Spec.Ingress = []CiliumIngress{{FromEntities: []string{"all"}, ToPorts: ciliumPorts(ports, nil)}}
	}
	if policy.Spec.Egress, err = w.egress(); err != nil {
		return Output{}, fmt.Errorf("%s: %w", p.name, err)
	}
	text, err := yaml.Marshal(policy)
	if err != nil {
		return Output{}, fmt.Errorf("%s: encode: %w", p.name, err)
	}
	list := p.said()
	about := append(p.about("cilium"), w.remarks()...)
	return Output{Text: yamlComment(comment(about, list)) + string(text), Notes: list}, nil
}

// ciliumWriter writes the contacts of a pod as rules of a CiliumNetworkPolicy.
type ciliumWriter struct {
	*pod
	rules rules[CiliumEgress]
}

func (w *ciliumWriter) egress() ([]CiliumEgress, error) {
	if err := w.write(w); err != nil {
		return nil, err
	}
	var list []CiliumEgress
	if d := w.resolver(); len(d.why) > 0 {
		w.noteDNS(d)
		peer := CiliumEgress{ToEndpoints: []CiliumSelector{{MatchLabels: ciliumLabels(d.namespace, d.selector)}}}
		peer.ToPorts = ciliumPorts(d.ports, w.names())
		list = append(list, peer)
	}
	for _, r := range w.rules.all() {
		list = append(list, w.whole(r))
	}
	if len(list) == 0 {
		list = []CiliumEgress{{}}
	}
	return list, nil
}

// whole is a rule with its ports. At the port of resolvers, only the names that the profile lists may be asked for, which
// is also how Cilium learns their addresses.
func (w *ciliumWriter) whole(r *rule[CiliumEgress]) CiliumEgress {
	var dns, rest []port
	isCIDR := len(r.peer.ToCIDR)+len(r.peer.ToCIDRSet) > 0
	for _, p := range r.fewest() {
		if isCIDR && len(w.asked) > 0 && p.number == dnsPort && p.protocol != "sctp" {
			dns = append(dns, p)
		} else {
			rest = append(rest, p)
		}
	}
	peer := r.peer
	peer.ToPorts = append(ciliumPorts(dns, w.names()), ciliumPorts(rest, nil)...)
	return peer
}

func (w *ciliumWriter) others() string {
	return "it has no ports: Cilium wants the types of ICMP, which profiles do not hold, and knows no others"
}

// domain writes a name. Those of services stand for pods, which Cilium does not select by name: they are asked for by the
// rule for DNS.
func (w *ciliumWriter) domain(c contact, name string, ofService bool, open port) {
	if ofService {
		w.unwritten[c.text] = true
	} else {
		w.rules.allow("name "+name, CiliumEgress{ToFQDNs: []CiliumName{ciliumName(name)}}, open)
	}
}

func (w *ciliumWriter) unresolved(c contact, key string, b behind, _ port) {
	if w.strict {
		w.note(LeftOut, c.owners, c.text, "%s, and a rule that names it may have no ports", b.problem)
		return
	}
	w.note(Widened, c.owners, c.text, "every port of what is behind it: %s, and a rule that names it may have no ports", b.problem)
	_, name, _ := strings.Cut(key, "/")
	service := CiliumService{K8sService: CiliumServiceName{ServiceName: name, Namespace: b.namespace}}
	w.rules.allow("service "+key, CiliumEgress{ToServices: []CiliumService{service}}, port{})
}

func (w *ciliumWriter) prefix(c contact, except []string, open port) {
	peer := CiliumEgress{ToCIDR: []string{c.CIDR}}
	if len(except) > 0 {
		peer = CiliumEgress{ToCIDRSet: []CiliumPrefix{{CIDR: c.CIDR, Except: except}}}
	}
	w.rules.allow("cidr "+c.CIDR, peer, open)
}

func (w *ciliumWriter) pods(namespace string, selector map[string]string, ports ...port) {
	peer := CiliumEgress{ToEndpoints: []CiliumSelector{{MatchLabels: ciliumLabels(namespace, selector)}}}
	w.rules.allow(podsName(namespace, selector), peer, ports...)
}

// names are the names that may be asked for; nil if the profile has none, and says nothing of questions.
func (w *ciliumWriter) names() []CiliumName {
	var names []CiliumName
	for _, name := range w.asked {
		names = append(names, ciliumName(name))
	}
	return names
}

// remarks are lines at the head about Cilium.
func (w *ciliumWriter) remarks() []string {
	var lines []string
	if len(w.asked) > 0 {
		lines = append(lines, "A resolver is asked for the names that the profile lists and no others, names with search domains included.",
			"Names stand for addresses outside the cluster alone.")
	}
	if slices.ContainsFunc(w.asked, func(name string) bool { return strings.HasPrefix(name, "*.") }) {
		lines = append(lines, "A Cilium that does not know the prefix '**.' yet takes it for names of one label more, not for all below.")
	}
	return lines
}

// ciliumName is a name, or all below it, as Cilium writes it.
func ciliumName(name string) CiliumName {
	if below, ok := strings.CutPrefix(name, "*."); ok {
		return CiliumName{MatchPattern: "**." + below}
	}
	return CiliumName{MatchName: name}
}

// ciliumLabels are labels of pods, in a namespace if that is not the policy's own.
func ciliumLabels(namespace string, labels map[string]string) map[string]string {
	list := map[string]string{}
	for key, value := range labels {
		list[ciliumLabel+key] = value
	}
	if namespace != "" {
		list[ciliumNamespace] = namespace
	}
	return list
}

// ciliumPorts are ports as a rule has them: none for all of them.
func ciliumPorts(ports []port, names []CiliumName) []CiliumPorts {
	var all []CiliumPort
	for _, p := range ports {
		if p.protocol == "" {
			return nil
		}
		out := CiliumPort{Port: p.name, Protocol: strings.ToUpper(p.protocol), EndPort: int32(p.last)}
		if p.name == "" {
			out.Port = strconv.Itoa(int(p.number))
		}
		all = append(all, out)
	}
	var rules *CiliumRules
	if len(names) > 0 {
		rules = &CiliumRules{DNS: names}
	}
	var lists []CiliumPorts
	for chunk := range slices.Chunk(all, mostCiliumPorts) {
		lists = append(lists, CiliumPorts{Ports: chunk, Rules: rules})
	}
	return lists
}
