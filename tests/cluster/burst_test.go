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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/view"
)

// burstPods is how many pods come and go, one every 300 ms.
const (
	burstPods = 200
	burstGap  = 300 * time.Millisecond
)

// testBurst creates pods as fast as clusters do, half of them by Jobs, and
// deletes each as soon as it has ended. Every one runs a program once, which
// has to be recorded of it and of nobody else.
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
	want := map[string]view.Workload{}
	group, ctx := errgroup.WithContext(t.Context())
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
		group.Go(func() error { return h.runOnce(ctx, workload) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods were created, have ended and were deleted in %s", burstPods, time.Since(begin).Round(time.Second))
	h.awaitMarked(t, begin, "the burst", want)
	after := h.quiesce(t)
	t.Logf("lost: %d before, %d after", before.Lost, after.Lost)
	if after.Lost != before.Lost {
		t.Errorf("%d events were lost: %v", after.Lost-before.Lost, after.Health.Losses)
	}
}

// runOnce creates a pod, or a Job, that runs busybox with its own name as the
// argument, waits for its end and deletes it.
func (h *holdfast) runOnce(ctx context.Context, w view.Workload) error {
	pods, jobs := h.Client.CoreV1().Pods(w.Namespace), h.Client.BatchV1().Jobs(w.Namespace)
	meta, spec := metav1.ObjectMeta{Name: w.Name}, burstSpec(w.Name)
	at := metav1.DeletePropagationBackground
	if w.Kind == "Job" {
		limit := int32(0)
		job := &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{BackoffLimit: &limit, Template: corev1.PodTemplateSpec{Spec: spec}}}
		if _, err := jobs.Create(ctx, job, metav1.CreateOptions{}); err != nil {
			return err
		}
		err := h.Await(ctx, patience, "job "+w.Name+" has ended", func(ctx context.Context) error {
			j, err := jobs.Get(ctx, w.Name, metav1.GetOptions{})
			if err == nil && j.Status.Succeeded == 0 {
				err = errors.New("it has not")
			}
			return err
		})
		return errors.Join(err, jobs.Delete(ctx, w.Name, metav1.DeleteOptions{PropagationPolicy: &at}))
	}
	if _, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{}); err != nil {
		return err
	}
	err := h.Await(ctx, patience, "pod "+w.Name+" has ended", func(ctx context.Context) error {
		p, err := pods.Get(ctx, w.Name, metav1.GetOptions{})
		if err == nil && p.Status.Phase != corev1.PodSucceeded {
			err = fmt.Errorf("it is %s", p.Status.Phase)
		}
		return err
	})
	return errors.Join(err, pods.Delete(ctx, w.Name, metav1.DeleteOptions{}))
}

func burstSpec(marker string) corev1.PodSpec {
	no, now := false, int64(0)
	return corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, AutomountServiceAccountToken: &no, TerminationGracePeriodSeconds: &now,
		Containers: []corev1.Container{{
			Name: "main", Image: "docker.io/library/busybox:lab", Command: []string{"busybox", "true", marker},
		}},
	}
}
