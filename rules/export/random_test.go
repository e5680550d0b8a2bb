// SPDX-License-Identifier: Apache-2.0

package export_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-project/holdfast/rules/export"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// place is somebody to contact: pods, or an address outside the cluster.
type place struct {
	address string
	// namespace and labels are of pods; workload is whose they are. ports are the names of their ports.
	namespace, workload string
	labels              map[string]string
	ports               map[string]uint16
	names               []string
}

// places are all there are.
func places() []place {
	return []place{
		{address: "10.244.0.10", namespace: "db", workload: "db/StatefulSet/pg", labels: map[string]string{"app": "pg"}, ports: map[string]uint16{"pg": 5432}},
		{address: "10.244.0.11", namespace: "db", workload: "db/Job/dump", labels: map[string]string{"app": "pg", "task": "dump"}},
		{address: "10.244.0.12", namespace: "shop", workload: "shop/Deployment/cache", labels: map[string]string{"app": "cache"}},
		{address: "10.244.0.13", namespace: "kube-system", workload: "kube-system/Deployment/coredns", labels: map[string]string{"k8s-app": "kube-dns"}},
		{address: "192.0.2.7"}, {address: "192.0.2.8", names: []string{"api.example.com"}},
		{address: "2001:db8::1", names: []string{"a.b.cdn.example.com"}}, {address: "169.254.169.254"},
	}
}

// offer is a service: where it stands for which port of whom.
type offer struct {
	key, address, protocol string
	port                   uint16
	target                 uint16
	pods                   []int // of places
	service                export.Service
}

func offers() []offer {
	addresses := func(text string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(text)} }
	return []offer{
		{"db/pg", "10.96.0.5", "tcp", 5432, 5432, []int{0}, export.Service{
			Selector: map[string]string{"app": "pg"}, Addresses: addresses("10.96.0.5"),
			Ports: []export.ServicePort{{Protocol: "tcp", Port: 5432, TargetName: "pg"}},
		}},
		{"shop/cache", "10.96.0.6", "tcp", 80, 6379, []int{2}, export.Service{
			Selector: map[string]string{"app": "cache"}, Addresses: addresses("10.96.0.6"),
			Ports: []export.ServicePort{{Protocol: "tcp", Port: 80, Target: 6379}},
		}},
		{"kube-system/kube-dns", "10.96.0.10", "udp", 53, 53, []int{3}, export.Service{
			Selector: map[string]string{"k8s-app": "kube-dns"}, Addresses: addresses("10.96.0.10"),
			Ports: []export.ServicePort{{Protocol: "udp", Port: 53, Target: 53}, {Protocol: "tcp", Port: 53, Target: 53}},
		}},
	}
}

// meeting is a contact as it happens: what the process asks for, and who gets it at which port.
type meeting struct {
	deed profile.Deed
	to   place
	port uint16
	via  string
}

func (m meeting) String() string {
	return fmt.Sprintf("%s %s port %d (services %v, names %v) to %s %s port %d", m.deed.Protocol, m.deed.Address, m.deed.Port,
		m.deed.Services, m.deed.Names, m.to.workload, m.to.address, m.port)
}

// meetings are all contacts that are tried.
func meetings() []meeting {
	var all []meeting
	for _, to := range places() {
		for _, protocol := range []string{"tcp", "udp", "sctp", "icmp"} {
			for _, port := range []uint16{53, 80, 443, 5432, 6379} {
				if protocol == "icmp" {
					port = 0
				}
				d := profile.Deed{Kind: profile.DoContact, Protocol: protocol, Port: port, Address: netip.MustParseAddr(to.address), Names: to.names}
				if to.workload != "" {
					d.Workloads = []string{to.workload}
				}
				all = append(all, meeting{deed: d, to: to, port: port})
			}
		}
	}
	for _, o := range offers() {
		for _, i := range o.pods {
			all = append(all, meeting{deed: profile.Deed{
				Kind: profile.DoContact, Protocol: o.protocol, Port: o.port, Address: netip.MustParseAddr(o.address), Services: []string{o.key},
			}, to: places()[i], port: o.target, via: o.key})
		}
	}
	return all
}

// random makes profiles and clusters.
type random struct{ *rand.Rand }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func (r random) egress() profile.Egress {
	protocol := pick(r, "tcp", "tcp", "udp", "sctp", "icmp", profile.AnyProtocol)
	e := profile.Egress{Protocol: protocol, Seen: profile.Provenance{Origin: profile.Learned}}
	if protocol == "tcp" || protocol == "udp" || protocol == "sctp" {
		e.Port = pick[uint16](r, 0, 53, 80, 443, 5432, 6379)
	}
	switch r.IntN(4) {
	case 0:
		e.Name = pick(r, "api.example.com", "*.example.com", "*.cdn.example.com", "pg.db.svc.cluster.local")
	case 1:
		e.Service = pick(r, "db/pg", "shop/cache", "kube-system/kube-dns", "shop/none")
	case 2:
		e.Workload = pick(r, "db/StatefulSet/pg", "db/Job/dump", "shop/Deployment/cache", "shop/Deployment/none")
	default:
		e.CIDR = pick(r, "192.0.2.0/24", "192.0.2.7/32", "10.96.0.10/32", "10.96.0.6/32", "10.244.0.10/32", "0.0.0.0/0", "::/0",
			"169.254.169.254/32", "127.0.0.0/8")
	}
	return e
}

// profile is a profile of a container with a few processes and contacts.
func (r random) profile(container string) *profile.Profile {
	p := &profile.Profile{Key: profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: container}}
	for _, path := range []string{profile.Any, "/usr/bin/a", "/usr/bin/b"} {
		process := profile.Process{Path: path, Seen: profile.Provenance{Origin: profile.Learned}}
		for range r.IntN(3) {
			process.Egress = append(process.Egress, r.egress())
		}
		for range r.IntN(2) {
			process.Listen = append(process.Listen, profile.Port{
				Protocol: pick(r, "tcp", "udp", "dccp"), Port: pick[uint16](r, 0, 80, 443), Seen: profile.Provenance{Origin: profile.Learned},
			})
		}
		p.Processes = append(p.Processes, process)
	}
	p.Normalise()
	return p
}

// cluster knows some of what there is, and says which workloads and services.
func (r random) cluster() (*export.Cluster, map[string]bool) {
	var c export.Cluster
	known := map[string]bool{}
	c.AddWorkload("shop", "Deployment", "web", export.Workload{Selector: map[string]string{"app": "web"}, Labels: map[string]string{"app": "web"}})
	for _, p := range places() {
		parts := strings.Split(p.workload, "/")
		if p.workload != "" && r.IntN(3) > 0 {
			c.AddWorkload(parts[0], parts[1], parts[2], export.Workload{Selector: p.labels, Labels: p.labels})
			known[p.workload] = true
		}
	}
	for _, o := range offers() {
		namespace, name, _ := strings.Cut(o.key, "/")
		if r.IntN(3) > 0 {
			c.AddService(namespace, name, o.service)
			known[o.key] = true
		}
	}
	return &c, known
}

// lets reports whether a policy lets a contact out, as a network plugin judges it: by who gets it, at its own port.
func lets(t *testing.T, p networkingv1.NetworkPolicy, m meeting) bool {
	t.Helper()
	return slices.ContainsFunc(p.Spec.Egress, func(rule networkingv1.NetworkPolicyEgressRule) bool {
		return opens(rule.Ports, m.deed.Protocol, m.port, m.to.ports) &&
			slices.ContainsFunc(rule.To, func(peer networkingv1.NetworkPolicyPeer) bool { return means(t, peer, m.to) })
	})
}

func opens(ports []networkingv1.NetworkPolicyPort, protocol string, number uint16, named map[string]uint16) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		if strings.ToLower(string(*p.Protocol)) != protocol {
			return false
		}
		switch {
		case p.Port == nil:
			return true
		case p.Port.StrVal != "":
			is, ok := named[p.Port.StrVal]
			return ok && is == number
		case p.EndPort != nil:
			return int32(number) >= p.Port.IntVal && int32(number) <= *p.EndPort
		default:
			return int32(number) == p.Port.IntVal
		}
	})
}

func means(t *testing.T, peer networkingv1.NetworkPolicyPeer, to place) bool {
	t.Helper()
	if block := peer.IPBlock; block != nil {
		address := netip.MustParseAddr(to.address)
		in := func(cidr string) bool { return netip.MustParsePrefix(cidr).Contains(address) }
		return in(block.CIDR) && !slices.ContainsFunc(block.Except, in)
	}
	if peer.NamespaceSelector == nil {
		t.Fatal("a peer selects pods of the policy's own namespace, whichever that is")
	}
	if to.workload == "" || peer.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != to.namespace {
		return false
	}
	if peer.PodSelector != nil {
		for key, value := range peer.PodSelector.MatchLabels {
			if to.labels[key] != value {
				return false
			}
		}
	}
	return true
}

// entry is one egress entry of a profile, with what its notes call it.
type entry struct {
	profile.Egress
	container, process, text string
	alone                    *profile.Matcher
}

func entries(t *testing.T, list []*profile.Profile) []entry {
	t.Helper()
	var all []entry
	for _, p := range list {
		for _, q := range p.Processes {
			for _, e := range q.Egress {
				lone := &profile.Profile{Key: p.Key, Processes: []profile.Process{{
					Path: profile.Any, Egress: []profile.Egress{e}, Seen: profile.Provenance{Origin: profile.Written},
				}}}
				matcher, err := profile.NewMatcher(lone)
				if err != nil {
					t.Fatal(err)
				}
				process := q.Path
				if process == profile.Any {
					process = "every process"
				}
				entries := lone.Entries()
				all = append(all, entry{e, p.Key.Container, process, entries[len(entries)-1].Text, matcher})
			}
		}
	}
	return all
}

// noted are the notes on an entry.
func noted(notes []export.Note, effect export.Effect, e entry) []export.Note {
	var list []export.Note
	for _, n := range notes {
		if n.Effect == effect && n.Container == e.container && n.Process == e.process && n.Entry == e.text {
			list = append(list, n)
		}
	}
	return list
}

// TestRandom holds what NetworkPolicies let out against what the profiles allow. What is allowed and not let out has to be
// noted as left out, and what is let out and not allowed as widened or added.
func TestRandom(t *testing.T) {
	tried := map[string]int{}
	for seed := range uint64(300) {
		r := random{rand.New(rand.NewPCG(seed, 4))}
		list := []*profile.Profile{r.profile("app")}
		if r.IntN(2) == 0 {
			list = append(list, r.profile("proxy"))
		}
		cluster, told := r.cluster()
		o := export.Options{Cluster: cluster, Strict: r.IntN(2) == 0}
		out, err := export.NetworkPolicy(list, o)
		if err != nil {
			t.Fatal(err)
		}
		var policy networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict([]byte(out.Text), &policy); err != nil {
			t.Fatal(err)
		}
		w := witness{seed: seed, policy: policy, out: out, known: entries(t, list), told: told, strict: o.Strict}
		for _, m := range meetings() {
			tried[w.judge(t, m)]++
		}
		ingress(t, seed, policy, list, o.Strict)
		if t.Failed() {
			t.Logf("seed %d, strict %v:\n%s\n%s", seed, o.Strict, out.Text, profile.Encode(list[0]))
			return
		}
	}
	for _, outcome := range []string{"let out", "denied", "left out", "widened"} {
		if tried[outcome] < 100 {
			t.Errorf("%d contacts are %s of %v: the test tries too little", tried[outcome], outcome, tried)
		}
	}
	t.Log(slices.Sorted(maps.Keys(tried)), tried)
}

// witness is a policy with what it was made of.
type witness struct {
	seed   uint64
	policy networkingv1.NetworkPolicy
	out    export.Output
	known  []entry
	// told are the workloads and services that are known.
	told   map[string]bool
	strict bool
}

// judge holds a contact against the profiles and the policy made of them, and says what becomes of it.
func (w *witness) judge(t *testing.T, m meeting) string {
	t.Helper()
	var by []entry
	for _, e := range w.known {
		if e.alone.Judge(m.deed).Allowed && !w.unsure(e, m) {
			by = append(by, e)
		}
	}
	passes := lets(t, w.policy, m)
	switch {
	case len(by) > 0 && passes:
		return "let out"
	case len(by) == 0 && !passes:
		return "denied"
	case !passes:
		for _, e := range by {
			if len(noted(w.out.Notes, export.LeftOut, e)) == 0 {
				t.Errorf("seed %d: %s is allowed by %q of %s and denied without a word", w.seed, m, e.text, e.process)
			}
		}
		return "left out"
	default:
		if !w.excused(m) {
			t.Errorf("seed %d: %s is not allowed by the profile and let out without a word", w.seed, m)
		}
		return "widened"
	}
}

// unsure reports whether a prefix stands for a service: policies do not promise that it does, unless it is the address of one
// that is known.
func (w *witness) unsure(e entry, m meeting) bool {
	return e.CIDR != "" && m.via != "" && (!w.told[m.via] || !netip.MustParsePrefix(e.CIDR).IsSingleIP())
}

// excused reports whether the comment says that a contact is let out which the profile does not allow.
func (w *witness) excused(m meeting) bool {
	if slices.ContainsFunc(w.known, func(e entry) bool { return w.widened(e, m) || w.served(e, m) || directly(e, m) || w.alike(e, m) }) {
		return true
	}
	return slices.ContainsFunc(w.out.Notes, func(n export.Note) bool {
		return n.Effect == export.Added && strings.HasPrefix(n.Why, "DNS by the pods") && m.to.labels["k8s-app"] == "kube-dns" && m.port == 53
	})
}

// widened reports whether a note says that an entry was widened to what is contacted.
func (w *witness) widened(e entry, m meeting) bool {
	fits := e.Protocol == profile.AnyProtocol || e.Protocol == m.deed.Protocol
	at := fits && (e.Port == 0 || e.Port == m.port)
	return slices.ContainsFunc(noted(w.out.Notes, export.Widened, e), func(n export.Note) bool {
		switch {
		case w.strict:
			return false
		case strings.HasPrefix(n.Why, "every address at that port"):
			return at && m.to.address != "169.254.169.254"
		case strings.HasPrefix(n.Why, "every pod of the namespace "+m.to.namespace+" at every port"):
			return fits
		case strings.HasPrefix(n.Why, "every pod of the namespace "+m.to.namespace+" at that port"):
			return at
		default:
			return strings.HasPrefix(n.Why, "the pods of "+m.to.workload+" have the same labels") && at
		}
	})
}

// alike reports whether who is contacted has the labels of the workload of an entry, and nobody told of it: the head of each
// policy says that such pods are meant, too.
func (w *witness) alike(e entry, m meeting) bool {
	if w.told[m.to.workload] || e.Workload != "db/StatefulSet/pg" || m.to.workload != "db/Job/dump" {
		return false
	}
	return (e.Protocol == profile.AnyProtocol || e.Protocol == m.deed.Protocol) && (e.Port == 0 || e.Port == m.port)
}

// served reports whether who is contacted is behind the service of an entry, at its port: services stand for the pods behind
// them, in whatever way they are contacted.
func (w *witness) served(e entry, m meeting) bool {
	return (e.Service != "" || e.Name != "" || len(noted(w.out.Notes, export.Added, e)) > 0) && behind(e, m)
}

// behind reports whether who is contacted is behind the service of an entry, at the port that it leads to.
func behind(e entry, m meeting) bool {
	return slices.ContainsFunc(offers(), func(o offer) bool {
		named := e.Name == "pg.db.svc.cluster.local" && o.key == "db/pg"
		at := e.CIDR == o.address+"/32"
		selects := o.service.Selector["app"] == m.to.labels["app"] && o.service.Selector["k8s-app"] == m.to.labels["k8s-app"]
		return (e.Service == o.key || named || at) && selects && m.port == o.target && m.to.workload != ""
	})
}

// directly reports whether an entry allows the pod to be contacted itself, at that port, to which a service led: a policy
// cannot tell the two.
func directly(e entry, m meeting) bool {
	d := m.deed
	d.Services, d.Workloads, d.Port, d.Address = nil, []string{m.to.workload}, m.port, netip.MustParseAddr(m.to.address)
	return m.via != "" && e.alone.Judge(d).Allowed
}

// ingress holds the ports that are open for others against those that the profiles list.
func ingress(t *testing.T, seed uint64, policy networkingv1.NetworkPolicy, list []*profile.Profile, strict bool) {
	t.Helper()
	listed := map[string]bool{}
	for _, p := range list {
		for _, q := range p.Processes {
			for _, l := range q.Listen {
				listed[fmt.Sprintf("%s %d", l.Protocol, l.Port)] = true
			}
		}
	}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		for _, number := range []uint16{53, 80, 443, 32767, 32768, 60999, 61000} {
			chosen := listed[protocol+" 0"] && !strict && number >= 32768 && number <= 60999
			want := listed[fmt.Sprintf("%s %d", protocol, number)] || chosen
			got := slices.ContainsFunc(policy.Spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
				return opens(rule.Ports, protocol, number, nil)
			})
			if got != want {
				t.Errorf("seed %d: %s port %d is open: %v, want %v", seed, protocol, number, got, want)
			}
		}
	}
}
