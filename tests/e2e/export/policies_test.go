// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package export_test

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/holdfast-project/holdfast/tests/rig/kube"
)

// TestAPIServerTakesPolicies gives a real API server the NetworkPolicies that the tests of rules/export hold theirs against.
// It checks ports, ranges, prefixes, labels and names, and refuses fields that it does not know.
func TestAPIServerTakesPolicies(t *testing.T) {
	server := kube.Run(t)
	clients, err := kubernetes.NewForConfig(server.Admin())
	if err != nil {
		t.Fatal(err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	if _, err := clients.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "rules", "export", "testdata", "*.networkpolicy.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("the policies are %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var policy networkingv1.NetworkPolicy
		if err := yaml.UnmarshalStrict(text, &policy); err != nil {
			t.Fatal(err)
		}
		policies := clients.NetworkingV1().NetworkPolicies(policy.Namespace)
		made, err := policies.Create(t.Context(), &policy, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
			continue
		}
		if len(made.Spec.Egress) != len(policy.Spec.Egress) || len(made.Spec.Ingress) != len(policy.Spec.Ingress) {
			t.Errorf("%s: the API server keeps %+v", filepath.Base(file), made.Spec)
		}
		if err := policies.Delete(t.Context(), policy.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
}
