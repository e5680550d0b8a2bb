// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package kube_test

import (
	"errors"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-project/holdfast/tests/rig/kube"
)

// TestServer checks that the server knows its users, refuses others, and comes back with what it held.
func TestServer(t *testing.T) {
	server := kube.Run(t)
	admin := clients(t, server.Admin())
	if _, err := admin.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg, err := server.User("somebody")
	if err != nil {
		t.Fatal(err)
	}
	path, err := server.Kubeconfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err = clientcmd.BuildConfigFromFlags("", path); err != nil {
		t.Fatal(err)
	}
	if _, err := clients(t, cfg).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("somebody lists the nodes: %v", err)
	}
	if err := server.StopAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = admin.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
	var answered apierrors.APIStatus
	if err == nil || errors.As(err, &answered) {
		t.Errorf("a server that was stopped answers: %v", err)
	}
	if err := server.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	anonymous, err := rest.HTTPClientFor(server.Anonymous())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := anonymous.Get(server.URL() + "/api/v1/namespaces")
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("nobody lists the namespaces: %s %v", answer.Status, err)
	}
}

func clients(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
