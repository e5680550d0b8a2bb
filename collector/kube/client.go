// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
)

// Switch says whether the collector speaks to Kubernetes.
type Switch string

// The positions of a Switch. Auto is on in a pod with a service account, and where a kubeconfig is given.
const (
	Auto Switch = "auto"
	On   Switch = "on"
	Off  Switch = "off"
)

// String is pflag.Value.String.
func (s *Switch) String() string { return string(*s) }

// Set is pflag.Value.Set.
func (s *Switch) Set(text string) error {
	switch Switch(text) {
	case Auto, On, Off:
		*s = Switch(text)
		return nil
	}
	return fmt.Errorf("%q is none of auto, on and off", text)
}

// Type is pflag.Value.Type.
func (*Switch) Type() string { return "auto|on|off" }

// namespaceFile is where a pod finds the namespace that it runs in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Requests to the API server.
const (
	requestsPerSecond = 20
	burstOfRequests   = 40
	requestTimeout    = 20 * time.Second
)

// Connection is how to reach the API server, and the namespace that is the collector's own.
type Connection struct {
	Config    *rest.Config
	Namespace string
}

// Connect finds the API server: by the kubeconfig that is given, else by the pod's service account. It asks nothing of it. The
// connection is nil where the switch says, or finds, that there is none.
func Connect(s Switch, kubeconfig string) (*Connection, error) {
	if s == Off {
		if kubeconfig != "" {
			return nil, errors.New("a kubeconfig is given, and kubernetes is off")
		}
		return nil, nil
	}
	c, err := find(kubeconfig)
	if errors.Is(err, rest.ErrNotInCluster) {
		if s == On {
			return nil, fmt.Errorf("kubernetes is on, and this is no pod with a service account: %w; outside of a cluster --kubeconfig names one", err)
		}
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the API server of Kubernetes: %w", err)
	}
	c.Config.QPS, c.Config.Burst = requestsPerSecond, burstOfRequests
	c.Config.UserAgent = "holdfast-collector"
	return c, nil
}

func find(kubeconfig string) (*Connection, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, err
		}
		namespace, err := os.ReadFile(namespaceFile)
		return &Connection{Config: config, Namespace: strings.TrimSpace(string(namespace))}, err
	}
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, err
	}
	namespace, _, err := loader.Namespace()
	return &Connection{Config: config, Namespace: namespace}, err
}

// clients speak to the groups of the API that the collector has to do with.
type clients struct {
	core, events, holdfast *rest.RESTClient
}

func newClients(config *rest.Config) (*clients, error) {
	scheme := runtime.NewScheme()
	v1alpha1.AddToScheme(scheme)
	for _, gv := range []schema.GroupVersion{corev1.SchemeGroupVersion, eventsv1.SchemeGroupVersion} {
		metav1.AddToGroupVersion(scheme, gv)
	}
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.ConfigMap{})
	scheme.AddKnownTypes(eventsv1.SchemeGroupVersion, &eventsv1.Event{})
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	client := func(gv schema.GroupVersion, path string) (*rest.RESTClient, error) {
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath, c.NegotiatedSerializer = &gv, path, codecs
		c.ContentType, c.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
		client, err := rest.RESTClientFor(c)
		if err != nil {
			return nil, fmt.Errorf("client of %s: %w", gv, err)
		}
		return client, nil
	}
	var c clients
	var err error
	if c.core, err = client(corev1.SchemeGroupVersion, "/api"); err != nil {
		return nil, err
	}
	if c.events, err = client(eventsv1.SchemeGroupVersion, "/apis"); err != nil {
		return nil, err
	}
	if c.holdfast, err = client(v1alpha1.GroupVersion(), "/apis"); err != nil {
		return nil, err
	}
	return &c, nil
}
