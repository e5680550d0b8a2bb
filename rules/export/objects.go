// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is what counts of a Kubernetes object: a workload of whatever kind, a service, or a list of such.
type object struct {
	Kind     string    `yaml:"kind"`
	Metadata metadata  `yaml:"metadata"`
	Spec     spec      `yaml:"spec"`
	Items    []*object `yaml:"items"`
	// Endpoints and Ports are of an EndpointSlice.
	Endpoints []struct {
		Addresses []string `yaml:"addresses"`
	} `yaml:"endpoints"`
	Ports []struct {
		Protocol string `yaml:"protocol"`
		Port     uint16 `yaml:"port"`
	} `yaml:"ports"`
}

type metadata struct {
	Namespace string            `yaml:"namespace"`
	Name      string            `yaml:"name"`
	Labels    map[string]string `yaml:"labels"`
}

type spec struct {
	podSpec `yaml:",inline"`
	// Selector is a map of a service, and what holds matchLabels of a workload.
	Selector     yaml.Node `yaml:"selector"`
	Template     *template `yaml:"template"`
	JobTemplate  *template `yaml:"jobTemplate"`
	Type         string    `yaml:"type"`
	ExternalName string    `yaml:"externalName"`
	ClusterIP    string    `yaml:"clusterIP"`
	ClusterIPs   []string  `yaml:"clusterIPs"`
	Ports        []struct {
		Protocol   string    `yaml:"protocol"`
		Port       uint16    `yaml:"port"`
		TargetPort yaml.Node `yaml:"targetPort"`
	} `yaml:"ports"`
}

type template struct {
	Metadata metadata `yaml:"metadata"`
	Spec     struct {
		podSpec  `yaml:",inline"`
		Template *template `yaml:"template"`
	} `yaml:"spec"`
}

type podSpec struct {
	HostNetwork    bool            `yaml:"hostNetwork"`
	Containers     []containerSpec `yaml:"containers"`
	InitContainers []containerSpec `yaml:"initContainers"`
}

type containerSpec struct {
	Name            string `yaml:"name"`
	SecurityContext struct {
		Privileged   bool `yaml:"privileged"`
		Capabilities struct {
			Add  []string `yaml:"add"`
			Drop []string `yaml:"drop"`
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
}

// Read makes the workloads, services and endpoints of a file known: YAML or JSON, several documents, lists of objects too. Objects of
// other kinds are passed over, as are fields that do not count. name is the file's, for errors.
func (c *Cluster) Read(name string, data []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for document := 1; ; document++ {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: document %d: %w", name, document, err)
		}
		if err := c.add(&o); err != nil {
			return fmt.Errorf("%s: document %d: %w", name, document, err)
		}
	}
}

func (c *Cluster) add(o *object) error {
	for _, item := range o.Items {
		if item == nil {
			continue
		}
		if err := c.add(item); err != nil {
			return err
		}
	}
	if o.Metadata.Name == "" {
		return nil
	}
	if o.Metadata.Namespace == "" {
		o.Metadata.Namespace = "default" // As the API server has it.
	}
	switch o.Kind {
	case "EndpointSlice":
		c.AddEndpoints(o.Metadata.Namespace, o.Metadata.Labels["kubernetes.io/service-name"], o.slice())
		return nil
	case "Service":
		s, err := o.service()
		if err != nil {
			return fmt.Errorf("service %s/%s: %w", o.Metadata.Namespace, o.Metadata.Name, err)
		}
		c.AddService(o.Metadata.Namespace, o.Metadata.Name, s)
		return nil
	}
	if w, ok := o.workload(); ok {
		c.AddWorkload(o.Metadata.Namespace, o.Kind, o.Metadata.Name, w)
	}
	return nil
}

// slice is an EndpointSlice: those of addresses, for others hold names.
func (o *object) slice() Endpoints {
	var e Endpoints
	for _, endpoint := range o.Endpoints {
		for _, text := range endpoint.Addresses {
			if address, err := netip.ParseAddr(text); err == nil {
				e.Addresses = append(e.Addresses, address)
			}
		}
	}
	for _, p := range o.Ports {
		e.Ports = append(e.Ports, ServicePort{Protocol: strings.ToLower(cmp.Or(p.Protocol, "TCP")), Port: p.Port})
	}
	return e
}

func (o *object) service() (Service, error) {
	s := Service{Headless: o.Spec.ClusterIP == "None"}
	if o.Spec.Type == "ExternalName" {
		s.External = strings.ToLower(strings.TrimSuffix(o.Spec.ExternalName, "."))
		return s, nil
	}
	if o.Spec.Selector.Kind != 0 {
		if err := o.Spec.Selector.Decode(&s.Selector); err != nil {
			return s, fmt.Errorf("selector: %w", err)
		}
	}
	for _, text := range append([]string{o.Spec.ClusterIP}, o.Spec.ClusterIPs...) {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(s.Addresses, address) { // Anything else, such as None, is no address.
			s.Addresses = append(s.Addresses, address)
		}
	}
	for _, p := range o.Spec.Ports {
		port := ServicePort{Protocol: strings.ToLower(cmp.Or(p.Protocol, "TCP")), Port: p.Port, Target: p.Port}
		switch target := p.TargetPort.Value; {
		case target == "" || target == "0":
		case p.TargetPort.Tag == "!!int":
			n, err := strconv.ParseUint(target, 10, 16)
			if err != nil {
				return s, fmt.Errorf("port %d: target port %q: %w", p.Port, target, err)
			}
			port.Target = uint16(n)
		default:
			port.Target, port.TargetName = 0, target
		}
		s.Ports = append(s.Ports, port)
	}
	return s, nil
}

// workload is an object as a workload, if it is one: it has pods, or a template of them.
func (o *object) workload() (Workload, bool) {
	labels, pods := o.Metadata.Labels, &o.Spec.podSpec
	switch t := o.Spec.Template; {
	case o.Spec.JobTemplate != nil && o.Spec.JobTemplate.Spec.Template != nil:
		t = o.Spec.JobTemplate.Spec.Template
		labels, pods = t.Metadata.Labels, &t.Spec.podSpec
	case t != nil:
		labels, pods = t.Metadata.Labels, &t.Spec.podSpec
	case o.Kind != "Pod":
		return Workload{}, false
	}
	w := Workload{Labels: labels, Selector: o.selector(labels), HostNetwork: pods.HostNetwork}
	for _, list := range [][]containerSpec{pods.InitContainers, pods.Containers} {
		for i := range list {
			w.Containers = append(w.Containers, list[i].container())
		}
	}
	return w, true
}

// selector are the labels that a workload selects its pods by, as far as they outlive a run of it; otherwise those of its
// pods.
func (o *object) selector(labels map[string]string) map[string]string {
	var s struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	if o.Spec.Selector.Kind == yaml.MappingNode {
		if err := o.Spec.Selector.Decode(&s); err != nil {
			s.MatchLabels = nil // A replication controller selects by a plain map; its pods' labels serve as well.
		}
	}
	from := labels
	if len(s.MatchLabels) > 0 && o.Kind != "Job" {
		from = s.MatchLabels
	}
	own := map[string]string{}
	for key, value := range from {
		if !perRun(key) {
			own[key] = value
		}
	}
	return own
}

// perRun reports whether a label is another one for each run or revision of a workload.
func perRun(label string) bool {
	switch label {
	case "controller-uid", "job-name", "pod-template-hash", "controller-revision-hash", "pod-template-generation",
		"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index":
		return true
	}
	return strings.HasPrefix(label, "batch.kubernetes.io/")
}

func (s *containerSpec) container() Container {
	c := Container{Name: s.Name, Privileged: s.SecurityContext.Privileged}
	c.Add = capabilityNames(s.SecurityContext.Capabilities.Add)
	c.Drop = capabilityNames(s.SecurityContext.Capabilities.Drop)
	return c
}

// capabilityNames are the names of capabilities as profiles have them.
func capabilityNames(names []string) []string {
	var list []string
	for _, name := range names {
		list = append(list, strings.TrimPrefix(strings.ToLower(name), "cap_"))
	}
	return list
}
