// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// patience bounds the start of the pods, the pull of their image included, and the removal of the namespace.
	patience = 3 * time.Minute
	// interval is how often is asked how far something is.
	interval = 500 * time.Millisecond
)

// Config is what a shop is made of.
type Config struct {
	// Namespace is the name of the one that is made for it.
	Namespace string
	// Image has a busybox with its programs in /bin.
	Image string
	// Nodes are the nodes that it may run on, one at least.
	Nodes []string
	// Progress, unless it is nil, is told what is being done.
	Progress func(string)
}

// Shop is the service in its namespace.
type Shop struct {
	cluster *Cluster
	cfg     Config
	// uid is that of the namespace that was made; empty until then.
	uid types.UID
	pod corev1.Pod
	*conversation
}

// NewShop returns a shop that is not open yet.
func (c *Cluster) NewShop(cfg Config) *Shop {
	if cfg.Progress == nil {
		cfg.Progress = func(string) {}
	}
	return &Shop{cluster: c, cfg: cfg}
}

// Open makes the namespace with all that is in it, and returns when the shop takes orders. On an error, too, Close removes what
// was made. The orders' stream ends with ctx.
func (s *Shop) Open(ctx context.Context) error {
	ctx = quiet(ctx)
	s.cfg.Progress("making namespace " + s.cfg.Namespace)
	if err := s.makeNamespace(ctx); err != nil {
		return err
	}
	addresses := map[string]string{}
	for name, port := range map[string]int32{bank: bankPort, drop: dropPort} {
		var made corev1.Service
		err := s.cluster.core.Post().Namespace(s.cfg.Namespace).Resource("services").Body(service(name, port)).Timeout(requestTimeout).Do(ctx).Into(&made)
		if err != nil {
			return fmt.Errorf("make service %s: %w", name, err)
		}
		addresses[name] = made.Spec.ClusterIP
	}
	s.cfg.Progress("starting pods of " + s.cfg.Image)
	for _, d := range []*appsv1.Deployment{outsideObject(s.cfg), shopObject(s.cfg, addresses[bank], addresses[drop])} {
		if _, err := s.start(ctx, d); err != nil {
			return err
		}
	}
	for _, name := range []string{outside, Workload} {
		pod, err := s.await(ctx, name)
		if err != nil {
			return err
		}
		s.pod = *pod
	}
	var err error
	s.conversation, err = s.cluster.attach(ctx, &s.pod)
	return err
}

func (s *Shop) makeNamespace(ctx context.Context) error {
	var made corev1.Namespace
	err := s.cluster.core.Post().Resource("namespaces").Body(namespaceObject(s.cfg.Namespace)).Timeout(requestTimeout).Do(ctx).Into(&made)
	if err != nil {
		return fmt.Errorf("make namespace %s: %w", s.cfg.Namespace, err)
	}
	s.uid = made.UID
	return nil
}

// start makes a Deployment.
func (s *Shop) start(ctx context.Context, d *appsv1.Deployment) (*appsv1.Deployment, error) {
	var made appsv1.Deployment
	err := s.cluster.apps.Post().Namespace(s.cfg.Namespace).Resource("deployments").Body(d).Timeout(requestTimeout).Do(ctx).Into(&made)
	if err != nil {
		return nil, fmt.Errorf("make deployment %s: %w", d.Name, err)
	}
	return &made, nil
}

// await waits until the pod of a Deployment is ready.
func (s *Shop) await(ctx context.Context, name string) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	waits := "it is not there yet"
	for {
		pod, err := s.podOf(ctx, name)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			return nil, err
		case pod == nil:
			if waits, err = s.refused(ctx, name); err != nil {
				return nil, err
			}
		case ready(pod):
			return pod, nil
		default:
			var hopeless bool
			if waits, hopeless = trouble(pod); hopeless {
				return nil, fmt.Errorf("pod %s does not start: %s", pod.Name, waits)
			}
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("the pod of deployment %s is not ready after %s: %s", name, patience, waits)
			}
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// podOf is the pod of a Deployment, nil if there is none yet.
func (s *Shop) podOf(ctx context.Context, name string) (*corev1.Pod, error) {
	var pods corev1.PodList
	err := s.cluster.core.Get().Namespace(s.cfg.Namespace).Resource("pods").Param("labelSelector", appLabel+"="+name).Timeout(requestTimeout).
		Do(ctx).Into(&pods)
	if err != nil {
		return nil, fmt.Errorf("list the pods of namespace %s: %w", s.cfg.Namespace, err)
	}
	if len(pods.Items) == 0 {
		return nil, nil
	}
	return &pods.Items[0], nil
}

// refused says why a Deployment has no pod, as far as that is known; an error is for good.
func (s *Shop) refused(ctx context.Context, name string) (string, error) {
	var d appsv1.Deployment
	err := s.cluster.apps.Get().Namespace(s.cfg.Namespace).Resource("deployments").Name(name).Timeout(requestTimeout).Do(ctx).Into(&d)
	if err != nil {
		return "", fmt.Errorf("look at deployment %s: %w", name, err)
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return "", fmt.Errorf("the cluster refuses the pod of deployment %s: %s", name, c.Message)
		}
	}
	return "it is not there yet", nil
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// lasting are the reasons for which a container waits that time alone does not heal.
var lasting = map[string]bool{
	"ImagePullBackOff": true, "ErrImageNeverPull": true, "InvalidImageName": true, "CreateContainerConfigError": true,
	"CreateContainerError": true, "RunContainerError": true, "CrashLoopBackOff": true,
}

// trouble says what a pod waits for, and whether it is hopeless.
func trouble(pod *corev1.Pod) (string, bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "no node takes it: " + c.Message, false
		}
	}
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if w := status.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
			return strings.TrimSuffix(fmt.Sprintf("container %s: %s: %s", status.Name, w.Reason, w.Message), ": "), lasting[w.Reason]
		}
	}
	return "it is " + strings.ToLower(string(pod.Status.Phase)), pod.Status.Phase == corev1.PodFailed
}

// Pod is the name of the shop's pod, and Node that of the node that it runs on; both are empty before it is open.
func (s *Shop) Pod() string { return s.pod.Name }

// Node is the name of the node that the shop runs on.
func (s *Shop) Node() string { return s.pod.Spec.NodeName }

// Close ends the orders and removes the namespace, if it was made, and all that is in it; it returns when that is gone.
func (s *Shop) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(quiet(ctx), patience)
	defer cancel()
	if s.conversation != nil {
		s.hangUp()
	}
	if s.uid == "" {
		return nil
	}
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.uid}}
	err := s.cluster.core.Delete().Resource("namespaces").Name(s.cfg.Namespace).Body(options).Timeout(requestTimeout).Do(ctx).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove namespace %s: %w", s.cfg.Namespace, err)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		var left corev1.Namespace
		err := s.cluster.core.Get().Resource("namespaces").Name(s.cfg.Namespace).Timeout(requestTimeout).Do(ctx).Into(&left)
		if apierrors.IsNotFound(err) || err == nil && left.UID != s.uid {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("see whether namespace %s is gone: %w", s.cfg.Namespace, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("namespace %s is told to go and is still there: %w", s.cfg.Namespace, ctx.Err())
		case <-tick.C:
		}
	}
}
