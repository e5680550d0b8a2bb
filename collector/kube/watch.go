// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
)

// newInformer keeps the objects of a resource in all namespaces. changed is called when any of them has, and asked with what
// came of every list and watch.
func newInformer(client *rest.RESTClient, resource string, example, list runtime.Object, changed func(), asked func(error)) (cache.SharedIndexInformer, error) {
	options := func(o metav1.ListOptions) *rest.Request {
		return client.Get().Resource(resource).VersionedParams(&o, metav1.ParameterCodec)
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			into := list.DeepCopyObject()
			err := options(o).Timeout(requestTimeout).Do(ctx).Into(into)
			asked(err)
			return into, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			w, err := options(o).Watch(ctx)
			asked(err)
			return w, err
		},
	}
	informer := cache.NewSharedIndexInformer(lw, example, 0, cache.Indexers{})
	if err := informer.SetTransform(slim); err != nil {
		return nil, err
	}
	// What went wrong is told by asked; that a watch ends now and then is no news.
	if err := informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}); err != nil {
		return nil, err
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	return informer, err
}

// slim leaves of an object what the collector uses: of the fields that others manage, who wrote the spec last.
func slim(object any) (any, error) {
	o, ok := object.(metav1.Object)
	if !ok {
		return object, nil
	}
	if manager := managerOf(o.GetManagedFields()); manager != "" {
		o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager}})
	}
	annotations := o.GetAnnotations()
	for name := range annotations {
		if name != v1alpha1.ReasonAnnotation {
			delete(annotations, name)
		}
	}
	o.SetAnnotations(annotations)
	return object, nil
}

// managerOf is who wrote the object last, its status aside.
func managerOf(fields []metav1.ManagedFieldsEntry) string {
	var last metav1.ManagedFieldsEntry
	for _, f := range fields {
		if f.Subresource == "" && (last.Manager == "" || last.Time.Before(f.Time)) {
			last = f
		}
	}
	return last.Manager
}
