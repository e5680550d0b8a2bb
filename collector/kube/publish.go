// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The ConfigMap in the collector's namespace by which agents know its authority.
const (
	AuthorityConfigMap = "holdfast-ca"
	AuthorityKey       = "ca.pem"
)

// How often the ConfigMap is looked at, and how soon again after a failure.
const (
	publishEvery = time.Minute
	firstRetry   = time.Second
)

// publish keeps the certificate of the authority in the ConfigMap.
func (c *Controller) publish(ctx context.Context) error {
	retry := firstRetry
	for {
		pause := publishEvery
		if err := c.publishOnce(ctx); err == nil {
			retry = firstRetry
		} else if ctx.Err() == nil {
			c.metrics.failed("authority")
			if retry == firstRetry {
				c.Log.Error("the authority's certificate could not be published, trying again and again", "error", err)
			}
			pause = retry + rand.N(retry/4)
			retry = min(2*retry, publishEvery)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// publishOnce makes the ConfigMap hold the certificate. Other keys of it are left alone.
func (c *Controller) publishOnce(ctx context.Context) error {
	namespace := c.Connection.Namespace
	about := fmt.Sprintf("ConfigMap %s/%s", namespace, AuthorityConfigMap)
	wanted := map[string]string{AuthorityKey: string(c.Authority)}
	var found corev1.ConfigMap
	err := c.clients.core.Get().Namespace(namespace).Resource("configmaps").Name(AuthorityConfigMap).Timeout(requestTimeout).Do(ctx).Into(&found)
	switch {
	case err == nil && found.Data[AuthorityKey] == string(c.Authority):
		return nil
	case apierrors.IsNotFound(err):
		made := &corev1.ConfigMap{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
			ObjectMeta: metav1.ObjectMeta{
				Name: AuthorityConfigMap, Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/part-of": "holdfast"},
			},
			Data: wanted,
		}
		err = c.clients.core.Post().Namespace(namespace).Resource("configmaps").Timeout(requestTimeout).Body(made).Do(ctx).Error()
	case err == nil:
		var patch []byte
		if patch, err = json.Marshal(map[string]any{"data": wanted}); err != nil {
			return fmt.Errorf("%s: %w", about, err)
		}
		err = c.clients.core.Patch(types.MergePatchType).Namespace(namespace).Resource("configmaps").Name(AuthorityConfigMap).
			Timeout(requestTimeout).Body(patch).Do(ctx).Error()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", about, err)
	}
	c.metrics.publishes.Inc()
	c.Log.Info("the authority's certificate is published", "configmap", namespace+"/"+AuthorityConfigMap)
	return nil
}
