// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// workload is a rendered object that makes pods.
type workload struct {
	name     string
	selector *metav1.LabelSelector
	labels   map[string]string
	spec     corev1.PodSpec
}

// workloads are all objects that make pods, hooks too.
func workloads(t *testing.T, r *Rendered) []workload {
	t.Helper()
	var all []workload
	for _, o := range slices.Concat(r.Objects, r.Hooks) {
		w := workload{}
		switch x := o.Typed.(type) {
		case *appsv1.DaemonSet:
			w = workload{x.Name, x.Spec.Selector, x.Spec.Template.Labels, x.Spec.Template.Spec}
		case *appsv1.StatefulSet:
			w = workload{x.Name, x.Spec.Selector, x.Spec.Template.Labels, x.Spec.Template.Spec}
		case *batchv1.Job:
			w = workload{x.Name, nil, x.Spec.Template.Labels, x.Spec.Template.Spec}
		default:
			continue
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		t.Fatal("nothing makes pods")
	}
	return all
}

func (w workload) containers() []corev1.Container {
	return slices.Concat(w.spec.InitContainers, w.spec.Containers)
}

// TestPodsAreConfined checks what no container of Holdfast may have, whatever the values.
func TestPodsAreConfined(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			if w.spec.HostIPC {
				t.Errorf("%s: hostIPC", w.name)
			}
			for _, c := range w.containers() {
				for _, wrong := range unconfined(w, c) {
					t.Errorf("%s, container %s: %s", w.name, c.Name, wrong)
				}
			}
		}
	})
}

func unconfined(w workload, c corev1.Container) []string {
	var wrong []string
	s := c.SecurityContext
	if s == nil || s.Capabilities == nil {
		return []string{"no securityContext with capabilities"}
	}
	if s.Privileged != nil && *s.Privileged {
		wrong = append(wrong, "privileged")
	}
	if s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		wrong = append(wrong, "its root file system can be written")
	}
	if !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		wrong = append(wrong, fmt.Sprintf("drops %v, not ALL", s.Capabilities.Drop))
	}
	admin := slices.Contains(s.Capabilities.Add, "SYS_ADMIN")
	if escalates := s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation; escalates != admin {
		wrong = append(wrong, fmt.Sprintf("allowPrivilegeEscalation with capabilities %v", s.Capabilities.Add))
	}
	if s.SeccompProfile == nil && (w.spec.SecurityContext == nil || w.spec.SecurityContext.SeccompProfile == nil) {
		wrong = append(wrong, "no seccomp profile")
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		wrong = append(wrong, "no limit of memory, or no requests")
	}
	if image := c.Image; strings.HasSuffix(image, ":latest") || !strings.Contains(image[strings.LastIndexByte(image, '/')+1:], ":") {
		wrong = append(wrong, "image "+image+" has no fixed version")
	}
	return wrong
}

// TestOthersThanTheAgentAreRestricted checks that only what works on the node has more than an ordinary pod.
func TestOthersThanTheAgentAreRestricted(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			if w.name == "holdfast-agent" {
				continue
			}
			if w.spec.HostPID || w.name == "holdfast-collector" && w.spec.HostNetwork {
				t.Errorf("%s: in the node's namespaces", w.name)
			}
			for _, c := range w.containers() {
				if c.Name == "unload" {
					if got := c.SecurityContext.Capabilities.Add; !slices.Equal(got, []corev1.Capability{"BPF"}) {
						t.Errorf("unload has capabilities %v", got)
					}
					continue
				}
				if len(c.SecurityContext.Capabilities.Add) > 0 {
					t.Errorf("%s, container %s: capabilities %v", w.name, c.Name, c.SecurityContext.Capabilities.Add)
				}
				if !nonRoot(w, c) {
					t.Errorf("%s, container %s: may be root", w.name, c.Name)
				}
			}
		}
	})
}

func nonRoot(w workload, c corev1.Container) bool {
	for _, b := range []*bool{c.SecurityContext.RunAsNonRoot, podNonRoot(w)} {
		if b != nil {
			return *b
		}
	}
	return false
}

func podNonRoot(w workload) *bool {
	if w.spec.SecurityContext == nil {
		return nil
	}
	return w.spec.SecurityContext.RunAsNonRoot
}

// hostFolders are the agent's mounts of the node that it may write.
var writableHost = map[string][]string{
	"holdfast-agent":    {"data", "bpf"},
	"holdfast-clean-up": {"data", "bpf"},
}

func TestFoldersOfTheNodeAreReadOnly(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			host := map[string]bool{}
			for _, v := range w.spec.Volumes {
				host[v.Name] = v.HostPath != nil
			}
			for _, c := range w.containers() {
				for _, m := range c.VolumeMounts {
					if _, known := host[m.Name]; !known && m.Name != "data" {
						t.Errorf("%s mounts %s, which is no volume", w.name, m.Name)
					}
					if host[m.Name] && !m.ReadOnly && !slices.Contains(writableHost[w.name], m.Name) {
						t.Errorf("%s can write %s of the node", w.name, m.MountPath)
					}
					if m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional {
						t.Errorf("%s mounts %s with propagation to the node", w.name, m.MountPath)
					}
				}
			}
		}
	})
}

// TestGoKnowsItsLimit checks that GOMEMLIMIT is below the limit of memory, and not by too much.
func TestGoKnowsItsLimit(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, w := range workloads(t, r) {
			for _, c := range w.spec.Containers {
				if c.Name != "agent" && c.Name != "collector" {
					continue
				}
				at := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" })
				if at < 0 {
					t.Fatalf("%s has no GOMEMLIMIT", w.name)
				}
				goes, err := resource.ParseQuantity(strings.TrimSuffix(c.Env[at].Value, "B"))
				if err != nil {
					t.Fatal(err)
				}
				share := goes.AsApproximateFloat64() / c.Resources.Limits.Memory().AsApproximateFloat64()
				if share < 0.55 || share > 0.85 {
					t.Errorf("%s: GOMEMLIMIT %s of %s", w.name, c.Env[at].Value, c.Resources.Limits.Memory())
				}
			}
		}
	})
}

// TestSelectorsSelect checks that what selects pods selects those that it is for, and no others.
func TestSelectorsSelect(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		all := workloads(t, r)
		for _, w := range all {
			if w.selector == nil {
				continue
			}
			for _, other := range all {
				selects := labels.SelectorFromSet(w.selector.MatchLabels).Matches(labels.Set(other.labels))
				if selects != (other.name == w.name && other.selector != nil) {
					t.Errorf("%s selects the pods of %s: %v", w.name, other.name, selects)
				}
			}
		}
		for _, o := range r.Objects {
			s, ok := o.Typed.(*corev1.Service)
			if !ok {
				continue
			}
			for _, w := range all {
				if labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.labels)) != (w.name == s.Name) {
					t.Errorf("Service %s and the pods of %s", s.Name, w.name)
				}
			}
		}
	})
}

// TestObjectsBelong checks names, namespaces and labels.
func TestObjectsBelong(t *testing.T) {
	cluster := []string{"Namespace", "ClusterRole", "ClusterRoleBinding"}
	eachSet(t, func(t *testing.T, r *Rendered) {
		seen := map[string]bool{}
		for i, o := range slices.Concat(r.Objects, r.Hooks) {
			m, err := meta.Accessor(o.Typed)
			if err != nil {
				t.Fatal(err)
			}
			kind := o.Typed.GetObjectKind().GroupVersionKind().Kind
			id := kind + "/" + m.GetName()
			if seen[id] {
				t.Errorf("%s is there twice", id)
			}
			seen[id] = true
			if !strings.HasPrefix(m.GetName(), "holdfast-") {
				t.Errorf("%s is not named after Holdfast", id)
			}
			if (m.GetNamespace() == "") != slices.Contains(cluster, kind) {
				t.Errorf("%s is in namespace %q", id, m.GetNamespace())
			}
			if m.GetLabels()["app.kubernetes.io/part-of"] != "holdfast" {
				t.Errorf("%s lacks the chart's labels", id)
			}
			if hook := m.GetAnnotations()["helm.sh/hook"]; (hook != "") != (i >= len(r.Objects)) {
				t.Errorf("%s: hook %q", id, hook)
			}
		}
	})
}

// allowed is every right that the chart may give: by role, what may be done with what. The rights of customOwners are in it by
// the set of values that asks for them.
var allowed = map[string][]string{
	"ClusterRole/holdfast-agent": {
		"get,list,watch pods", "list,watch namespaces,services", "list,watch discovery.k8s.io/endpointslices",
		"get apps/replicasets,deployments,statefulsets,daemonsets", "get batch/jobs,cronjobs", "get replicationcontrollers", "get argoproj.io/rollouts",
	},
	"ClusterRole/holdfast-collector": {
		"create authentication.k8s.io/tokenreviews",
		"list,watch holdfast.dev/holdfastprofiles,holdfastpolicies",
		"patch holdfast.dev/holdfastprofiles/status,holdfastpolicies/status",
		"create,patch events.k8s.io/events",
	},
	"Role/holdfast-collector": {"get,patch configmaps holdfast-ca"},
	"Role/holdfast-clean-up":  {"get apps/daemonsets holdfast-clean-up", "list pods"},
}

func TestRightsAreThoseAllowed(t *testing.T) {
	eachSet(t, func(t *testing.T, r *Rendered) {
		for _, o := range slices.Concat(r.Objects, r.Hooks) {
			var rules []rbacv1.PolicyRule
			var name string
			switch x := o.Typed.(type) {
			case *rbacv1.ClusterRole:
				rules, name = x.Rules, "ClusterRole/"+x.Name
			case *rbacv1.Role:
				rules, name = x.Rules, "Role/"+x.Name
			default:
				continue
			}
			if len(rules) == 0 {
				t.Errorf("%s gives nothing", name)
			}
			for _, rule := range rules {
				if got := spell(rule); !slices.Contains(allowed[name], got) {
					t.Errorf("%s gives %q, which is not on the list", name, got)
				}
			}
		}
	})
}

// spell writes a rule in one line.
func spell(r rbacv1.PolicyRule) string {
	s := strings.Join(r.Verbs, ",") + " "
	if groups := strings.Join(r.APIGroups, "|"); groups != "" {
		s += groups + "/"
	}
	s += strings.Join(r.Resources, ",")
	if len(r.ResourceNames) > 0 {
		s += " " + strings.Join(r.ResourceNames, ",")
	}
	return s
}
