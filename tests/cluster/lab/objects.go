// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Apply makes the objects of a manifest, YAML or JSON, as kubectl apply does.
func (c *Cluster) Apply(ctx context.Context, manifest []byte) error {
	cmd := c.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apply a manifest: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Await waits until a condition holds, unless a part of the cluster ends. The
// error tells what the parts logged last.
func (c *Cluster) Await(ctx context.Context, patience time.Duration, what string, condition func(context.Context) error) error {
	return c.await(ctx, patience, what, condition)
}

// PodLog is what a container of a pod has written since its start.
func (c *Cluster) PodLog(ctx context.Context, namespace, pod, container string) (string, error) {
	stream, err := c.Client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).Stream(ctx)
	if err != nil {
		return "", fmt.Errorf("log of %s/%s: %w", namespace, pod, err)
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	if err != nil {
		return "", fmt.Errorf("log of %s/%s: %w", namespace, pod, err)
	}
	return string(text), nil
}

// Exec runs a command in a container of a pod and returns what it wrote.
func (c *Cluster) Exec(ctx context.Context, namespace, pod, container string, argv ...string) (string, error) {
	args := append([]string{"exec", "-n", namespace, pod, "-c", container, "--"}, argv...)
	out, err := c.Kubectl(ctx, args...).Output()
	if err != nil {
		return string(out), fmt.Errorf("exec in %s/%s: %w", namespace, pod, err)
	}
	return string(out), nil
}

// ImportArchives gives the images of OCI archives to the node.
func (c *Cluster) ImportArchives(ctx context.Context, paths ...string) error {
	for _, path := range paths {
		if err := c.run(ctx, "ctr", "-a", c.Node.Socket(), "-n", "k8s.io", "images", "import", path); err != nil {
			return err
		}
	}
	return nil
}
