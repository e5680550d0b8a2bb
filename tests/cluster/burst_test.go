// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/holdfast-project/holdfast/collector/view"
	node "github.com/holdfast-project/holdfast/tests/lab"
)

// burstPods is how many pods come and go, one every burstGap: the last after 48
// seconds. Sooner helps nothing on two processors, which the node's parts keep
// busy.
const (
	burstPods = 200
	burstGap  = 240 * time.Millisecond
)

// burstClass is the RuntimeClass of the pods.
const burstClass = "crun"

// testBurst creates pods as fast as clusters do, half of them by Jobs, and
// deletes each as soon as it has ended. Every one runs a program once, which
// has to be recorded of it and of nobody else. crun runs them, as some clusters
// do: the pods of the other tests are runc's, which takes the node half as much
// time again.
func testBurst(t *testing.T, h *holdfast) {
	const namespace = "burst"
	begin := time.Now()
	before := h.nodeNow(t, begin)
	_, err := h.Client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.await(t, "the namespace has its ServiceAccount", func(ctx context.Context) error {
		_, err := h.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: burstClass}, Handler: node.CrunHandler}
	if _, err := h.Client.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]view.Workload{}
	start := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	group.Go(func() error { return h.deleteEnded(ctx, namespace, burstPods) })
	tick := time.NewTicker(burstGap)
	defer tick.Stop()
	for n := range burstPods {
		name := fmt.Sprintf("burst-%03d", n)
		workload := view.Workload{Namespace: namespace, Kind: "Pod", Name: name, Container: "main"}
		if n%2 == 1 {
			workload.Kind = "Job"
		}
		want[name] = workload
		<-tick.C
		if err := h.create(ctx, workload); err != nil {
			t.Fatal(errors.Join(err, context.Cause(ctx)))
		}
	}
	created := time.Since(start)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods were created within %s; after %s all had ended and were deleted", burstPods,
		created.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond))
	h.awaitMarked(t, begin, "the burst", want)
	after := h.quiesce(t)
	t.Logf("lost: %d before, %d after", before.Lost, after.Lost)
	if after.Lost != before.Lost {
		t.Errorf("%d events were lost: %v", after.Lost-before.Lost, after.Health.Losses)
	}
}

// create creates a pod, or a Job, that runs busybox with its own name as the
// argument.
func (h *holdfast) create(ctx context.Context, w view.Workload) error {
	meta, spec := metav1.ObjectMeta{Name: w.Name}, burstSpec(w.Name)
	if w.Kind == "Pod" {
		_, err := h.Client.CoreV1().Pods(w.Namespace).Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{})
		return err
	}
	limit := int32(0)
	job := &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{BackoffLimit: &limit, Template: corev1.PodTemplateSpec{Spec: spec}}}
	_, err := h.Client.BatchV1().Jobs(w.Namespace).Create(ctx, job, metav1.CreateOptions{})
	return err
}

// deleteEnded deletes each pod, or the Job that owns it, as soon as it has
// ended well, until so many pods are gone. It watches: to ask two hundred pods
// ten times a second how they are would take a processor of its own.
func (h *holdfast) deleteEnded(ctx context.Context, namespace string, pods int) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	ofPods, err := h.Client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer ofPods.Stop()
	ofJobs, err := h.Client.BatchV1().Jobs(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer ofJobs.Stop()
	for gone := 0; gone < pods; {
		var event watch.Event
		select {
		case event = <-ofPods.ResultChan():
		case event = <-ofJobs.ResultChan():
		}
		if event.Type == "" {
			return errors.Join(fmt.Errorf("the watch ended when %d of %d pods were gone", gone, pods), ctx.Err())
		}
		if _, pod := event.Object.(*corev1.Pod); pod && event.Type == watch.Deleted {
			gone++
		} else if err := h.deleteOnEnd(ctx, event.Object); err != nil {
			return err
		}
	}
	return nil
}

// deleteOnEnd deletes a Job that is complete, or a pod that nobody owns and that
// has ended well.
func (h *holdfast) deleteOnEnd(ctx context.Context, object runtime.Object) error {
	var err error
	switch o := object.(type) {
	case *corev1.Pod:
		if o.Status.Phase == corev1.PodFailed {
			return fmt.Errorf("pod %s has failed: %s", o.Name, o.Status.Message)
		}
		if o.Status.Phase == corev1.PodSucceeded && len(o.OwnerReferences) == 0 && o.DeletionTimestamp == nil {
			err = h.Client.CoreV1().Pods(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{})
		}
	case *batchv1.Job:
		if o.Status.Succeeded > 0 && o.DeletionTimestamp == nil {
			at := metav1.DeletePropagationBackground
			err = h.Client.BatchV1().Jobs(o.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{PropagationPolicy: &at})
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func burstSpec(marker string) corev1.PodSpec {
	no, now, class := false, int64(0), burstClass
	return corev1.PodSpec{
		RuntimeClassName: &class, RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &now,
		Containers: []corev1.Container{{
			Name: "main", Image: "docker.io/library/busybox:lab", Command: []string{"busybox", "true", marker},
		}},
	}
}
