// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Rates of requests that are not watches, a second, and how many may be made at once.
const (
	requestsPerSecond = 20
	requestBurst      = 60
)

// askTimeout bounds a single request.
const askTimeout = 10 * time.Second

// protobuf is what objects that have it are asked for in; JSON is several times as large.
const protobuf = "application/vnd.kubernetes.protobuf"

// client speaks to the API server. The typed clients know the few kinds that are used and no others: the whole of
// client-go's types would take more memory than all that is kept.
type client struct {
	core      *rest.RESTClient
	discovery *rest.RESTClient
	metadata  metadata.Interface
}

// InCluster reports whether the process runs in a pod that has a service account's token.
func InCluster() bool {
	_, err := rest.InClusterConfig()
	return err == nil
}

// load finds the API server and the credentials: those of a file, else those of the pod that the process runs in.
func load(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the service account: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return config, nil
}

// dial makes the clients. Nothing is sent.
func dial(config *rest.Config, counted *traffic) (*client, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "holdfast-agent"
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	config.WarningHandler = rest.NoWarnings{}
	config.Wrap(counted.wrap)
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("make a client of the API server: %w", err)
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme)
	c := &client{}
	if c.core, err = typed(config, transport, codecs, "/api", corev1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	if c.discovery, err = typed(config, transport, codecs, "/apis", discoveryv1.SchemeGroupVersion); err != nil {
		return nil, err
	}
	if c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), transport); err != nil {
		return nil, fmt.Errorf("make a client of metadata: %w", err)
	}
	return c, nil
}

func typed(config *rest.Config, transport *http.Client, codecs serializer.CodecFactory, path string, version schema.GroupVersion) (*rest.RESTClient, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = path, &version
	config.NegotiatedSerializer = codecs.WithoutConversion()
	config.ContentType, config.AcceptContentTypes = protobuf, protobuf+",application/json"
	c, err := rest.RESTClientForConfigAndClient(config, transport)
	if err != nil {
		return nil, fmt.Errorf("make a client of %s: %w", version, err)
	}
	return c, nil
}

// ask makes the list and the watch of a resource, with a field selector where one is given, of a namespace where one is.
func ask(c *rest.RESTClient, resource, namespace, fields string, into func() runtime.Object) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = fields
			list := into()
			err := c.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).VersionedParams(&o, metav1.ParameterCodec).
				Do(ctx).Into(list)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.Watch = fields, true
			return c.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).VersionedParams(&o, metav1.ParameterCodec).
				Watch(ctx)
		},
	}
}

// resources are those that the server has in a group and version, by kind.
func (c *client) resources(ctx context.Context, version string) (map[string]metav1.APIResource, error) {
	var list metav1.APIResourceList
	if err := c.core.Get().AbsPath(groupPath(version)...).Do(ctx).Into(&list); err != nil {
		return nil, err
	}
	byKind := make(map[string]metav1.APIResource, len(list.APIResources))
	for _, r := range list.APIResources {
		// Subresources have a slash in their names and may be of another kind.
		if _, known := byKind[r.Kind]; !known && !slashed(r.Name) {
			byKind[r.Kind] = r
		}
	}
	return byKind, nil
}
