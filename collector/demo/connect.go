// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// requestTimeout bounds each request to the API server but those that stream.
const requestTimeout = 30 * time.Second

// Cluster is a Kubernetes cluster, with somebody's rights. Its functions may be called by several goroutines at once.
type Cluster struct {
	config                    *rest.Config
	core, apps, authorization *rest.RESTClient
}

// Connect finds a cluster as kubectl does: by the file and the context in it that are named, by KUBECONFIG or ~/.kube/config,
// or, where there is none of these, by the service account of the pod that this runs in. It asks nothing of the cluster.
func Connect(kubeconfig, kubecontext string) (*Cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubecontext}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "holdfast-demo"
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("types of the cluster's objects: %w", err)
	}
	c := &Cluster{config: config}
	if c.core, err = newClient(config, scheme, corev1.SchemeGroupVersion, "/api"); err != nil {
		return nil, err
	}
	if c.apps, err = newClient(config, scheme, appsv1.SchemeGroupVersion, "/apis"); err != nil {
		return nil, err
	}
	c.authorization, err = newClient(config, scheme, authorizationv1.SchemeGroupVersion, "/apis")
	return c, err
}

func newClient(config *rest.Config, scheme *runtime.Scheme, group schema.GroupVersion, path string) (*rest.RESTClient, error) {
	own := rest.CopyConfig(config)
	own.GroupVersion, own.APIPath = &group, path
	own.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	return client, nil
}

// Address is where the cluster's API server is.
func (c *Cluster) Address() string { return c.config.Host }

// quiet keeps client-go from logging beside the demo's own words: what matters comes back as an error.
func quiet(ctx context.Context) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(slog.DiscardHandler))
}
