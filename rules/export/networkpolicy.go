// SPDX-License-Identifier: Apache-2.0

package export

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// NetworkPolicy writes the profiles of the containers of one workload as a Kubernetes NetworkPolicy: whom its pods contact
// and what they listen on. Domain names are widened to every address at their port. ErrLabels says that o.Cluster does not
// know the workload.
func NetworkPolicy(profiles []*profile.Profile, o Options) (Output, error) {
	p, err := newPod(profiles, o)
	if err != nil {
		return Output{}, err
	}
	name, err := p.objectName()
	if err != nil {
		return Output{}, err
	}
	w := &kubeWriter{pod: p, rules: rules[kubePeers]{}}
	policy := networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.key.Namespace, Labels: objectLabels()},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: p.known.Selector},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	if ports := p.ingress(); len(ports) > 0 {
		policy.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{Ports: kubePorts(ports)}}
	}
	if policy.Spec.Egress, err = w.egress(); err != nil {
		return Output{}, fmt.Errorf("%s: %w", p.name, err)
	}
	text, err := yaml.Marshal(policy)
	if err != nil {
		return Output{}, fmt.Errorf("%s: encode: %w", p.name, err)
	}
	list := p.said()
	return Output{Text: yamlComment(comment(p.about("networkpolicy"), list)) + string(text), Notes: list}, nil
}

// objectName is the name of a policy: its workload's, marked as ours.
func (p *pod) objectName() (string, error) {
	name := "holdfast-" + strings.ToLower(p.key.Kind) + "-" + p.key.Name
	for _, b := range []byte(name) {
		if b != '-' && b != '.' && (b < '0' || b > '9') && (b < 'a' || b > 'z') {
			return "", fmt.Errorf("%s: no name of a Kubernetes object", p.name)
		}
	}
	if most := 253; len(name) > most {
		sum := sha256.Sum256([]byte(name))
		name = name[:most-9] + "-" + hex.EncodeToString(sum[:4])
	}
	return name, nil
}

func objectLabels() map[string]string {
	return map[string]string{"app.kubernetes.io/managed-by": "holdfast"}
}

// kubePeers are the peers of a rule.
type kubePeers = []networkingv1.NetworkPolicyPeer

// kubeWriter writes the contacts of a pod as rules of a NetworkPolicy.
type kubeWriter struct {
	*pod
	rules rules[kubePeers]
}

func (w *kubeWriter) egress() ([]networkingv1.NetworkPolicyEgressRule, error) {
	if err := w.write(w); err != nil {
		return nil, err
	}
	if d := w.resolver(); len(d.why) > 0 {
		w.noteDNS(d)
		w.pods(d.namespace, d.selector, d.ports...)
	}
	var list []networkingv1.NetworkPolicyEgressRule
	for _, r := range w.rules.all() {
		list = append(list, networkingv1.NetworkPolicyEgressRule{To: r.peer, Ports: kubePorts(r.fewest())})
	}
	return list, nil
}

func (w *kubeWriter) others() string { return "policies know the protocols TCP, UDP and SCTP alone" }

func (w *kubeWriter) domain(c contact, _ string, _ bool, open port) {
	switch {
	case question(c.Egress):
		w.note(LeftOut, c.owners, c.text, "it may be asked for by the rule for DNS; port 53 of its own addresses stays shut")
	case w.strict:
		w.note(LeftOut, c.owners, c.text, "a NetworkPolicy knows no names")
	default:
		w.note(Widened, c.owners, c.text, "every address at that port: a NetworkPolicy knows no names")
		w.rules.allow("any", kubePeers{
			{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{metadata4}}},
			{IPBlock: &networkingv1.IPBlock{CIDR: "::/0", Except: []string{metadata6}}},
		}, open)
	}
}

func (w *kubeWriter) unresolved(c contact, key string, b behind, open port) {
	if endpoints := w.cluster.behind(key, c.Protocol, c.Port); len(endpoints) > 0 {
		w.note(Added, c.owners, c.text, "the endpoints of the service that --objects tells, since it selects no pods")
		for _, e := range endpoints {
			w.rules.allow("cidr "+e.cidr, kubePeers{{IPBlock: &networkingv1.IPBlock{CIDR: e.cidr}}}, e.at)
		}
		return
	}
	if w.strict || !b.unknown {
		w.note(LeftOut, c.owners, c.text, "%s", b.problem)
		return
	}
	w.note(Widened, c.owners, c.text, "every pod of the namespace %s at every port: %s", b.namespace, b.problem)
	open.number = 0
	w.pods(b.namespace, nil, open)
}

func (w *kubeWriter) prefix(c contact, except []string, open port) {
	w.rules.allow("cidr "+c.CIDR, kubePeers{{IPBlock: &networkingv1.IPBlock{CIDR: c.CIDR, Except: except}}}, open)
}

func (w *kubeWriter) pods(namespace string, selector map[string]string, ports ...port) {
	peer := networkingv1.NetworkPolicyPeer{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{namespaceLabel: namespace}},
	}
	if len(selector) > 0 {
		peer.PodSelector = &metav1.LabelSelector{MatchLabels: selector}
	}
	w.rules.allow(podsName(namespace, selector), kubePeers{peer}, ports...)
}

// kubePorts are ports as a policy has them: none for all of them.
func kubePorts(ports []port) []networkingv1.NetworkPolicyPort {
	var list []networkingv1.NetworkPolicyPort
	for _, p := range ports {
		if p.protocol == "" {
			return nil
		}
		protocol := corev1.Protocol(strings.ToUpper(p.protocol))
		out := networkingv1.NetworkPolicyPort{Protocol: &protocol}
		switch {
		case p.name != "":
			out.Port = new(intstr.FromString(p.name))
		case p.number != 0:
			out.Port = new(intstr.FromInt32(int32(p.number)))
		}
		if p.last != 0 {
			out.EndPort = new(int32(p.last))
		}
		list = append(list, out)
	}
	return list
}
