// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestPodsAreRestricted checks that a cluster which holds namespaces to the level restricted takes the pods, and that they come
// to the nodes that an agent watches.
func TestPodsAreRestricted(t *testing.T) {
	cfg := Config{Namespace: "demo", Image: "busybox", Nodes: []string{"a", "b"}}
	for _, d := range []*appsv1.Deployment{shopObject(cfg, "10.0.0.1", "10.0.0.2"), outsideObject(cfg)} {
		spec := d.Spec.Template.Spec
		if p := spec.SecurityContext; p == nil || !*p.RunAsNonRoot || *p.RunAsUser == 0 || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: security context %+v", d.Name, spec.SecurityContext)
		}
		if spec.HostNetwork || spec.HostPID || spec.HostIPC {
			t.Errorf("%s shares namespaces of the node", d.Name)
		}
		for _, v := range spec.Volumes {
			if v.EmptyDir == nil {
				t.Errorf("%s: volume %s is not of the pod's own", d.Name, v.Name)
			}
		}
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			s := c.SecurityContext
			if s == nil || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("container %s: security context %+v", c.Name, s)
			}
			if c.Resources.Limits.Memory().IsZero() || c.ImagePullPolicy != corev1.PullIfNotPresent {
				t.Errorf("container %s: limits %v, pull policy %s", c.Name, c.Resources.Limits, c.ImagePullPolicy)
			}
		}
		var names []string
		for _, term := range spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			names = append(names, term.MatchFields[0].Values...)
		}
		if !slices.Equal(names, cfg.Nodes) {
			t.Errorf("%s runs on %v; want %v", d.Name, names, cfg.Nodes)
		}
		if d.Spec.Template.Labels[appLabel] != d.Spec.Selector.MatchLabels[appLabel] {
			t.Errorf("%s does not select its pods", d.Name)
		}
	}
}

// TestStepsStayWithinTheDemo checks that the attack speaks to nobody but whom the shop was told of, by its variables.
func TestStepsStayWithinTheDemo(t *testing.T) {
	for _, s := range Steps() {
		for _, word := range strings.FieldsFunc(s.Command, func(r rune) bool { return strings.ContainsRune(" \"'`;|&<>()$=", r) }) {
			if _, err := netip.ParseAddr(word); err == nil || strings.Contains(word, "://") || strings.HasPrefix(word, "/dev/") {
				t.Errorf("%s: %q leads elsewhere", s.What, word)
			}
		}
		if strings.ContainsAny(s.Command, "\n\r") {
			t.Errorf("%s is more than a line, and an order is one", s.What)
		}
	}
}

// TestOrder speaks to a shop that answers as the script does.
func TestOrder(t *testing.T) {
	ordersOut, orders := io.Pipe()
	answers, answersIn := io.Pipe()
	go func() {
		in := bufio.NewScanner(ordersOut)
		for in.Scan() {
			number, order, _ := strings.Cut(in.Text(), " ")
			switch order {
			case "pencil":
				io.WriteString(answersIn, "pencil\nthanks\n== "+number+"\n")
			case "much":
				io.WriteString(answersIn, strings.Repeat(strings.Repeat("x", 100)+"\n", 1000)+"== "+number+"\n")
			default:
				answersIn.Close()
				ordersOut.Close()
			}
		}
	}()
	hungUp := false
	c := &conversation{orders: orders, lines: bufio.NewReader(answers), hangUp: func() { hungUp = true }}
	for range 2 {
		if got, err := c.Order(t.Context(), "pencil"); err != nil || got != "pencil\nthanks" {
			t.Errorf("pencil: %q, %v", got, err)
		}
	}
	if got, err := c.Order(t.Context(), "much"); err != nil || len(got) < maxAnswerBytes || len(got) > 2*maxAnswerBytes {
		t.Errorf("much: %d bytes, %v", len(got), err)
	}
	if got, err := c.Order(t.Context(), "pencil"); err != nil || got != "pencil\nthanks" {
		t.Errorf("pencil after much: %q, %v", got, err)
	}
	if hungUp {
		t.Error("a line that answers was given up")
	}
	if _, err := c.Order(t.Context(), "die"); err == nil || !strings.Contains(err.Error(), "pods/attach") {
		t.Errorf("die: %v", err)
	}
}

func TestTrouble(t *testing.T) {
	waiting := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			Name: "shop", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "words"}},
		}}}
	}
	for _, c := range []struct {
		status   corev1.PodStatus
		want     string
		hopeless bool
	}{
		{waiting("ContainerCreating"), "it is pending", false},
		{waiting("ErrImagePull"), "container shop: ErrImagePull: words", false},
		{waiting("ImagePullBackOff"), "container shop: ImagePullBackOff: words", true},
		{corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"},
		}}, "no node takes it: 0/3 nodes are available", false},
		{corev1.PodStatus{Phase: corev1.PodFailed}, "it is failed", true},
	} {
		if got, hopeless := trouble(&corev1.Pod{Status: c.status}); got != c.want || hopeless != c.hopeless {
			t.Errorf("%q, %v; want %q, %v", got, hopeless, c.want, c.hopeless)
		}
	}
}

func TestRightsReadAsPeopleWriteThem(t *testing.T) {
	var all []string
	for _, r := range Rights() {
		all = append(all, r.String())
	}
	for _, want := range []string{"create namespaces", "get deployments of apps", "create pods/exec"} {
		if !slices.Contains(all, want) {
			t.Errorf("%q is none of %q", want, all)
		}
	}
}
