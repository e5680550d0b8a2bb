// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// TestTranscripts runs the commands of testdata/*.txt. A line is a command; the lines after it that begin with a blank are
// what it printed, the names that have moved among it.
//
//	service NS/NAME ADDRESS[,ADDRESS]|None [NAME:]PROTOCOL:PORT…
//	slice NS/NAME SERVICE [NAME:]PROTOCOL:PORT… ADDRESS[=POD]…
//	drop service|slice|pod NS/NAME
//	pod NS/NAME KIND/NAME here|far|host ADDRESS…    of a workload; ? for one that is not known yet
//	namespace NAME KEY=VALUE
//	owned NS/NAME KIND/NAME                          now it is known whose a pod is
//	reach NS/NAME PROTOCOL PORT, members NS/KIND/NAME
//	whose ADDRESS, wait SECONDS
func TestTranscripts(t *testing.T) {
	golden.Transcripts(t, "testdata/*.txt", play)
}

// stage is a source without an API server.
type stage struct {
	t   *testing.T
	s   *Source
	now time.Time
	out strings.Builder
}

func play(t *testing.T, script string) string {
	st := &stage{t: t, now: time.Unix(1000, 0)}
	st.s = bare(Config{
		Node: "node-1", Registry: st, Now: func() time.Time { return st.now },
		OnMoved: func(names []string) { st.say("moved %s", strings.Join(names, ", ")) },
	})
	return golden.Lines(script, func(line string) string {
		st.do(strings.Fields(line))
		st.now = st.now.Add(gatherFor)
		st.s.tell()
		defer st.out.Reset()
		return st.out.String()
	})
}

func (st *stage) say(format string, args ...any) { fmt.Fprintf(&st.out, "  "+format+"\n", args...) }

// SetPod implements Registry.
func (st *stage) SetPod(uid string, f container.PodFacts) {
	st.say("pod %s %s/%s owner=%v namespace's=%v", uid, f.Namespace, f.Name, f.Owner, f.NamespaceAnnotations)
}

// EndPod implements Registry.
func (st *stage) EndPod(uid string) { st.say("ended %s", uid) }

// AwaitOwners implements Registry.
func (st *stage) AwaitOwners(bool) {}

func (st *stage) do(f []string) {
	space, name, _ := strings.Cut(f[1], "/")
	switch f[0] {
	case "service":
		ports, _ := st.ports(f[3:])
		st.s.setService(serviceObject(space, name, strings.Split(f[2], ","), ports))
	case "slice":
		ports, rest := st.ports(f[3:])
		o := sliceObject(space, name, f[2], ports, rest)
		st.s.setSlice(o)
	case "drop":
		switch f[1] {
		case "service":
			st.s.dropService(f[2])
		case "slice":
			st.s.dropSlice(f[2])
		default:
			st.s.dropPod("uid-of-" + f[2])
		}
	case "namespace":
		key, value, _ := strings.Cut(f[2], "=")
		st.s.setNamespace(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: f[1], Annotations: map[string]string{key: value}}})
	case "pod":
		st.pod(space, name, f[2:])
	case "owned":
		st.owned(f[1], f[2])
	case "reach":
		protocol := map[string]uint8{"tcp": protocolTCP, "udp": protocolUDP, "any": 0}[f[2]]
		port, err := strconv.ParseUint(f[3], 10, 16)
		if err != nil {
			st.t.Fatal(err)
		}
		for _, target := range st.s.Service(space, name, protocol, uint16(port)) {
			st.say("%s %d", target.Prefix, target.Port)
		}
	case "members":
		part := strings.Split(f[1], "/")
		st.say("%v", st.s.Workload(part[0], part[1], part[2]))
	case "whose":
		of, known := st.s.Lookup(netip.MustParseAddr(f[1]))
		st.say("%v %s %s/%s", known, of.Kind, of.Namespace, of.Name)
		if of.Kind == container.EndpointPod {
			owner, answer := st.s.Owner(of)
			st.say("owner %v %d", owner, answer)
		}
	case "wait":
		seconds, err := strconv.Atoi(f[1])
		if err != nil {
			st.t.Fatal(err)
		}
		st.now = st.now.Add(time.Duration(seconds) * time.Second)
	default:
		st.t.Fatalf("unknown command %q", f)
	}
}

func (st *stage) pod(space, name string, f []string) {
	kind, owner, _ := strings.Cut(f[0], "/")
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: space, UID: types.UID("uid-of-" + space + "/" + name)}}
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner + "-1", Controller: &yes}}
	p.Spec.HostNetwork = f[1] == "host"
	for _, a := range f[2:] {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: a})
	}
	kept := podOf(p, f[1] != "far")
	if f[0] != "?" {
		kept.owner, kept.found = top{Owner: container.Owner{Kind: kind, Name: owner}}, true
	}
	st.s.setPod(kept)
}

func (st *stage) owned(pod, by string) {
	kind, name, _ := strings.Cut(by, "/")
	st.s.mu.Lock()
	p := st.s.byName[pod]
	p.owner, p.found = top{Owner: container.Owner{Kind: kind, Name: name}}, true
	st.s.movedPod(p)
	st.s.mu.Unlock()
	st.s.push(p)
}

// ports reads [NAME:]PROTOCOL:PORT as long as there are any.
func (st *stage) ports(f []string) (ports []servicePort, rest []string) {
	protocols := map[string]uint8{"tcp": protocolTCP, "udp": protocolUDP}
	for i, text := range f {
		part := strings.Split(text, ":")
		if len(part) == 2 {
			part = slices.Concat([]string{""}, part)
		}
		if len(part) != 3 || protocols[part[1]] == 0 {
			return ports, f[i:]
		}
		n, err := strconv.ParseUint(part[2], 10, 16)
		if err != nil {
			st.t.Fatal(err)
		}
		ports = append(ports, servicePort{part[0], protocols[part[1]], uint16(n)})
	}
	return ports, nil
}

func protocolName(n uint8) corev1.Protocol {
	return map[uint8]corev1.Protocol{protocolTCP: corev1.ProtocolTCP, protocolUDP: corev1.ProtocolUDP}[n]
}

func serviceObject(space, name string, addresses []string, ports []servicePort) *corev1.Service {
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name}}
	o.Spec.ClusterIP, o.Spec.ClusterIPs = addresses[0], addresses
	for _, p := range ports {
		o.Spec.Ports = append(o.Spec.Ports, corev1.ServicePort{Name: p.name, Protocol: protocolName(p.protocol), Port: int32(p.port)})
	}
	return o
}

func sliceObject(space, name, service string, ports []servicePort, endpoints []string) *discoveryv1.EndpointSlice {
	o := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: space, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range ports {
		protocol, port := protocolName(p.protocol), int32(p.port)
		o.Ports = append(o.Ports, discoveryv1.EndpointPort{Name: &p.name, Protocol: &protocol, Port: &port})
	}
	for _, text := range endpoints {
		address, pod, is := strings.Cut(text, "=")
		e := discoveryv1.Endpoint{Addresses: []string{address}}
		if is {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: space, Name: pod}
		}
		o.Endpoints = append(o.Endpoints, e)
	}
	return o
}

// TestForgetting checks that what has gone leaves nothing behind.
func TestForgetting(t *testing.T) {
	st := &stage{t: t, now: time.Unix(1000, 0)}
	st.s = bare(Config{Node: "n", Registry: st, Now: func() time.Time { return st.now }})
	for i := range 100 {
		name := fmt.Sprintf("s%d", i)
		port := []servicePort{{"", protocolTCP, 80}}
		st.s.setService(serviceObject("shop", name, []string{fmt.Sprintf("10.96.0.%d", i)}, port))
		st.s.setSlice(sliceObject("shop", name+"-1", name, port, []string{fmt.Sprintf("10.1.0.%d=p%d", i, i), "10.1.1.1=all"}))
		st.do([]string{"pod", fmt.Sprintf("shop/p%d", i), "Deployment/" + name, "here", fmt.Sprintf("10.1.0.%d", i)})
	}
	for i := range 100 {
		st.s.dropService(fmt.Sprintf("shop/s%d", i))
		st.s.dropSlice(fmt.Sprintf("shop/s%d-1", i))
		st.s.dropPod(fmt.Sprintf("uid-of-shop/p%d", i))
	}
	st.now = st.now.Add(holdFor + gatherFor)
	st.s.tell()
	for name, n := range map[string]int{
		"services": len(st.s.table.services), "slices": len(st.s.table.slices), "cluster addresses": len(st.s.table.clusterIPs),
		"endpoints": len(st.s.table.endpoints), "count": st.s.table.count, "pods": len(st.s.pods), "names": len(st.s.byName),
		"addresses": len(st.s.byAddr), "held": len(st.s.held) + st.s.heldCount,
	} {
		if n != 0 {
			t.Errorf("%d %s are left", n, name)
		}
	}
	if names := slices.Collect(maps.Keys(st.s.news)); len(names) != 0 {
		t.Errorf("not told: %v", names)
	}
}
