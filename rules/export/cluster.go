// SPDX-License-Identifier: Apache-2.0

package export

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Cluster is what is known of a cluster's objects: by which labels workloads and services select their pods. The zero value
// knows nothing. It is filled first and only read then, concurrently if need be.
type Cluster struct {
	workloads map[string]Workload
	services  map[string]Service
	endpoints map[string][]Endpoints
}

// Workload is what is known of a workload.
type Workload struct {
	// Selector are labels that all of its pods have and that are its own. Labels are all labels of its pods.
	Selector, Labels map[string]string
	// Containers are those of its pods, init containers too.
	Containers []Container
	// HostNetwork says that its pods have their node's network, where no policy holds.
	HostNetwork bool
}

// Container is what is known of a container of a workload.
type Container struct {
	Name string
	// Privileged, Add and Drop are of its security context; capabilities are named as in profiles, or "all".
	Privileged bool
	Add, Drop  []string
}

// Service is what is known of a service.
type Service struct {
	// Selector are the labels of the pods behind it; none where somebody else keeps its endpoints.
	Selector map[string]string
	// External is the domain name that it stands for, if it does.
	External string
	// Headless says that it has no address: its name stands for the addresses of its pods.
	Headless bool
	// Addresses are its addresses in the cluster.
	Addresses []netip.Addr
	Ports     []ServicePort
}

// Endpoints are addresses behind a service, and the ports that it has there.
type Endpoints struct {
	Addresses []netip.Addr
	// Ports have no Target: Port is the endpoint's own.
	Ports []ServicePort
}

// ServicePort is a port of a service.
type ServicePort struct {
	// Protocol is tcp, udp or sctp.
	Protocol string
	Port     uint16
	// Target is the port of the pods behind it: a number, or a name if that is not empty.
	Target     uint16
	TargetName string
}

func workloadKey(namespace, kind, name string) string {
	return strings.Join([]string{namespace, kind, name}, "/")
}

// AddWorkload makes a workload known.
func (c *Cluster) AddWorkload(namespace, kind, name string, w Workload) {
	if c.workloads == nil {
		c.workloads = map[string]Workload{}
	}
	c.workloads[workloadKey(namespace, kind, name)] = w
}

// AddService makes a service known.
func (c *Cluster) AddService(namespace, name string, s Service) {
	if c.services == nil {
		c.services = map[string]Service{}
	}
	c.services[namespace+"/"+name] = s
}

// AddEndpoints makes endpoints of a service known, beside those that are known already.
func (c *Cluster) AddEndpoints(namespace, service string, e Endpoints) {
	if c.endpoints == nil {
		c.endpoints = map[string][]Endpoints{}
	}
	c.endpoints[namespace+"/"+service] = append(c.endpoints[namespace+"/"+service], e)
}

// Len counts the workloads and services that are known.
func (c *Cluster) Len() int {
	if c == nil {
		return 0
	}
	return len(c.workloads) + len(c.services)
}

// workload is what is known of namespace/Kind/name, if its pods can be selected.
func (c *Cluster) workload(key string) (Workload, bool) {
	if c == nil {
		return Workload{}, false
	}
	w, known := c.workloads[key]
	return w, known && len(w.Selector) > 0
}

// service is what is known of namespace/name.
func (c *Cluster) service(key string) (Service, bool) {
	if c == nil {
		return Service{}, false
	}
	s, known := c.services[key]
	return s, known
}

// endpoint is an address as a prefix, and a port there.
type endpoint struct {
	cidr string
	at   port
}

// behind are the endpoints of a service that a contact at a protocol and port of it leads to, in order.
func (c *Cluster) behind(key, protocol string, number uint16) []endpoint {
	s, known := c.service(key)
	if !known {
		return nil
	}
	found := map[endpoint]bool{}
	for _, e := range c.endpoints[key] {
		for _, own := range e.Ports {
			leads := slices.ContainsFunc(s.Ports, func(p ServicePort) bool {
				return p.Protocol == own.Protocol && (protocol == profile.AnyProtocol || protocol == p.Protocol) &&
					(number == 0 || number == p.Port) && (p.Target == own.Port || p.TargetName != "")
			})
			for _, address := range e.Addresses {
				if leads {
					cidr := netip.PrefixFrom(address, address.BitLen()).String()
					found[endpoint{cidr, port{protocol: own.Protocol, number: own.Port}}] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b endpoint) int {
		return strings.Compare(a.cidr+" "+a.at.order(), b.cidr+" "+b.at.order())
	})
}

// serviceAt is the service that has an address in the cluster; empty if none is known.
func (c *Cluster) serviceAt(address netip.Addr) string {
	if c == nil {
		return ""
	}
	for _, key := range slices.Sorted(maps.Keys(c.services)) {
		if slices.Contains(c.services[key].Addresses, address) {
			return key
		}
	}
	return ""
}

// serviceNamed is the service that a domain name is of: name.namespace.svc, and what the cluster's domain adds to it.
func (c *Cluster) serviceNamed(name string) string {
	labels := strings.SplitN(name, ".", 4)
	if len(labels) < 3 || labels[2] != "svc" {
		return ""
	}
	key := labels[1] + "/" + labels[0]
	if _, known := c.service(key); !known {
		return ""
	}
	return key
}

// also are the other workloads of a namespace whose pods have the labels, in order.
func (c *Cluster) also(namespace string, selector map[string]string, but string) []string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(c.workloads)) {
		if key != but && strings.HasPrefix(key, namespace+"/") && selects(selector, c.workloads[key].Labels) {
			list = append(list, key)
		}
	}
	return list
}

// selects reports whether labels are of those that a selector means.
func selects(selector, labels map[string]string) bool {
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// container is what is known of the container that a profile is of.
func (c *Cluster) container(key profile.Key) (Container, bool) {
	if c == nil {
		return Container{}, false
	}
	w := c.workloads[workloadKey(key.Namespace, key.Kind, key.Name)]
	i := slices.IndexFunc(w.Containers, func(x Container) bool { return x.Name == key.Container })
	if i < 0 {
		return Container{}, false
	}
	return w.Containers[i], true
}
