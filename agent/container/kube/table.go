// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of what is known of services.
const (
	maxServices  = 16384
	maxSlices    = 32768
	maxEndpoints = 131072
)

// Numbers of protocols (IANA).
const (
	protocolTCP  = 6
	protocolUDP  = 17
	protocolSCTP = 132
)

// table has the services of the cluster and the addresses behind them. It is not safe for concurrent use.
type table struct {
	services map[string]*service
	slices   map[string]*slice
	// clusterIPs says whose an address is, endpoints which pods have it and how often slices say so.
	clusterIPs map[netip.Addr]*service
	endpoints  map[netip.Addr][]claim
	// count is how many addresses all slices hold, omitted how many objects found no room.
	count   int
	omitted uint64
	texts   texts
}

// claim is a pod that has an address, by how many slices.
type claim struct {
	pod string
	n   int32
}

// service is what is kept of a service. One that is known by its slices alone has no addresses.
type service struct {
	name   string
	known  bool
	ips    []netip.Addr
	ports  []servicePort
	slices []*slice
}

// servicePort is a port of a service; its name ties it to the ports of its slices.
type servicePort struct {
	name     string
	protocol uint8
	port     uint16
}

// slice is what is kept of an EndpointSlice.
type slice struct {
	service   *service
	addresses []endpoint
	ports     []servicePort
}

// endpoint is an address, and the pod that has it as far as the slice says.
type endpoint struct {
	address netip.Addr
	pod     string
}

func newTable() *table {
	return &table{
		services: map[string]*service{}, slices: map[string]*slice{}, clusterIPs: map[netip.Addr]*service{},
		endpoints: map[netip.Addr][]claim{},
	}
}

// trimService leaves of a service what is used.
func trimService(s *corev1.Service) {
	*s = corev1.Service{
		ObjectMeta: trimMeta(&s.ObjectMeta),
		Spec:       corev1.ServiceSpec{ClusterIP: s.Spec.ClusterIP, ClusterIPs: s.Spec.ClusterIPs, Ports: s.Spec.Ports},
	}
}

// trimSlice leaves of a slice what is used.
func trimSlice(s *discoveryv1.EndpointSlice) {
	name := s.Labels[discoveryv1.LabelServiceName]
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		*e = discoveryv1.Endpoint{Addresses: e.Addresses, TargetRef: e.TargetRef}
	}
	*s = discoveryv1.EndpointSlice{
		ObjectMeta: trimMeta(&s.ObjectMeta), AddressType: s.AddressType, Endpoints: s.Endpoints, Ports: s.Ports,
	}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: name}
}

func trimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion}
}

// serviceOf finds a service or enters it; nil when there is no room.
func (t *table) serviceOf(name string) *service {
	s := t.services[name]
	if s == nil {
		if len(t.services) >= maxServices {
			t.omitted++
			return nil
		}
		s = &service{name: strings.Clone(name)}
		t.services[s.name] = s
	}
	return s
}

// setService takes in a service and reports whether its addresses or ports have changed.
func (t *table) setService(o *corev1.Service) bool {
	s := t.serviceOf(nameOf(o.Namespace, o.Name))
	if s == nil {
		return false
	}
	ips, ports := clusterIPsOf(o), t.portsOf(o)
	if s.known && slices.Equal(s.ips, ips) && slices.Equal(s.ports, ports) {
		return false
	}
	t.release(s)
	s.known, s.ips, s.ports = true, ips, ports
	for _, a := range ips {
		t.clusterIPs[a] = s
	}
	return true
}

func (t *table) release(s *service) {
	for _, a := range s.ips {
		if t.clusterIPs[a] == s {
			delete(t.clusterIPs, a)
		}
	}
	s.ips = nil
}

// dropService forgets a service and reports whether it was known.
func (t *table) dropService(name string) bool {
	s := t.services[name]
	if s == nil || !s.known {
		return false
	}
	t.release(s)
	s.known, s.ports = false, nil
	t.forget(s)
	return true
}

// forget drops a service of which nothing is known any more.
func (t *table) forget(s *service) {
	if !s.known && len(s.slices) == 0 {
		delete(t.services, s.name)
	}
}

// clusterIPsOf are the addresses of a service within the cluster; none for one without (headless).
func clusterIPsOf(o *corev1.Service) []netip.Addr {
	var list []netip.Addr
	for _, text := range append([]string{o.Spec.ClusterIP}, o.Spec.ClusterIPs...) {
		if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(list, plain(a)) {
			list = append(list, plain(a))
		}
	}
	return list
}

func (t *table) portsOf(o *corev1.Service) []servicePort {
	list := make([]servicePort, 0, len(o.Spec.Ports))
	for i := range o.Spec.Ports {
		p := &o.Spec.Ports[i]
		list = append(list, servicePort{t.texts.keep(p.Name), protocolOf(p.Protocol), uint16(p.Port)})
	}
	return list
}

func protocolOf(p corev1.Protocol) uint8 {
	switch p {
	case corev1.ProtocolUDP:
		return protocolUDP
	case corev1.ProtocolSCTP:
		return protocolSCTP
	default:
		return protocolTCP
	}
}

// setSlice takes in a slice. It gives the service that it is of, empty for none or when nothing has changed, and what its
// service reaches through it no more.
func (t *table) setSlice(o *discoveryv1.EndpointSlice) (changed string, gone []endpoint, ports []servicePort) {
	key, name := nameOf(o.Namespace, o.Name), o.Labels[discoveryv1.LabelServiceName]
	if name == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
		return t.dropSlice(key)
	}
	was := t.slices[key]
	if was == nil && len(t.slices) >= maxSlices {
		t.omitted++
		return "", nil, nil
	}
	s := t.serviceOf(nameOf(o.Namespace, name))
	if s == nil {
		return "", nil, nil
	}
	next := &slice{service: s, addresses: t.addressesOf(o, was), ports: t.slicePorts(o)}
	if was != nil && was.service == s && slices.Equal(was.addresses, next.addresses) && slices.Equal(was.ports, next.ports) {
		return "", nil, nil
	}
	t.claim(next)
	if was != nil {
		gone, ports = t.unlink(was), was.ports
	} else {
		key = strings.Clone(key)
	}
	t.slices[key] = next
	s.slices = append(s.slices, next)
	return s.name, gone, ports
}

// dropSlice forgets a slice, see setSlice.
func (t *table) dropSlice(key string) (changed string, gone []endpoint, ports []servicePort) {
	was := t.slices[key]
	if was == nil {
		return "", nil, nil
	}
	delete(t.slices, key)
	gone = t.unlink(was)
	t.forget(was.service)
	return was.service.name, gone, was.ports
}

// unlink takes a slice from its service and gives the addresses that no other slice of the service has.
func (t *table) unlink(was *slice) []endpoint {
	s := was.service
	s.slices = slices.DeleteFunc(s.slices, func(x *slice) bool { return x == was })
	t.count -= len(was.addresses)
	var gone []endpoint
	for _, e := range was.addresses {
		t.unclaim(e)
		gone = append(gone, e)
	}
	return gone
}

// claim notes whose the addresses of a slice are.
func (t *table) claim(of *slice) {
	t.count += len(of.addresses)
	for _, e := range of.addresses {
		if e.pod == "" {
			continue
		}
		list := t.endpoints[e.address]
		i := slices.IndexFunc(list, func(c claim) bool { return c.pod == e.pod })
		if i < 0 {
			list, i = append(list, claim{pod: e.pod}), len(list)
			t.endpoints[e.address] = list
		}
		list[i].n++
	}
}

func (t *table) unclaim(e endpoint) {
	if e.pod == "" {
		return
	}
	list := t.endpoints[e.address]
	i := slices.IndexFunc(list, func(c claim) bool { return c.pod == e.pod })
	if i < 0 {
		return
	}
	if list[i].n--; list[i].n > 0 {
		return
	}
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(t.endpoints, e.address)
		return
	}
	t.endpoints[e.address] = list
}

// addressesOf reads the addresses of a slice, whatever their condition: who was reached before stays reachable until it
// is taken from the service.
func (t *table) addressesOf(o *discoveryv1.EndpointSlice, was *slice) []endpoint {
	room := maxEndpoints - t.count
	if was != nil {
		room += len(was.addresses)
	}
	list := make([]endpoint, 0, len(o.Endpoints))
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		name := ""
		if r := e.TargetRef; r != nil && r.Kind == "Pod" {
			name = nameOf(o.Namespace, r.Name)
		}
		for _, text := range e.Addresses {
			a, err := netip.ParseAddr(text)
			switch {
			case err != nil:
			case len(list) >= room:
				t.omitted++
			default:
				list = append(list, endpoint{plain(a), t.texts.keep(name)})
			}
		}
	}
	return list
}

func (t *table) slicePorts(o *discoveryv1.EndpointSlice) []servicePort {
	list := make([]servicePort, 0, len(o.Ports))
	for i := range o.Ports {
		p := servicePort{protocol: protocolTCP}
		if o.Ports[i].Name != nil {
			p.name = t.texts.keep(*o.Ports[i].Name)
		}
		if o.Ports[i].Protocol != nil {
			p.protocol = protocolOf(*o.Ports[i].Protocol)
		}
		if o.Ports[i].Port != nil {
			p.port = uint16(*o.Ports[i].Port)
		}
		list = append(list, p)
	}
	return list
}

// owner gives the pod that alone has an address by what the slices say; empty for none, and for an address of a node.
func (t *table) owner(a netip.Addr) string {
	if list := t.endpoints[a]; len(list) == 1 {
		return list[0].pod
	}
	return ""
}

// texts keeps one copy of strings that come again and again. When it is full it starts over.
type texts struct{ m map[string]string }

const maxTexts = 65536

func (x *texts) keep(text string) string {
	if text == "" {
		return ""
	}
	if kept, ok := x.m[text]; ok {
		return kept
	}
	if x.m == nil || len(x.m) >= maxTexts {
		x.m = map[string]string{}
	}
	text = strings.Clone(text)
	x.m[text] = text
	return text
}

// nameOf names an object of a namespace.
func nameOf(namespace, name string) string { return namespace + "/" + name }

// reaches reports whether an address is a service's.
func (t *table) reaches(name string, e endpoint) bool {
	s := t.services[name]
	return s != nil && slices.ContainsFunc(s.slices, func(in *slice) bool { return slices.Contains(in.addresses, e) })
}
