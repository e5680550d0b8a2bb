// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bufio"
	"bytes"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// plainHeader opens a file of deploy/manifests.
const plainHeader = "# SPDX-License-Identifier: Apache-2.0\n#\n# Made by make manifests from deploy/helm/holdfast: change that.\n"

// Manifests are the files of deploy/manifests by name: what the chart makes of its defaults, with a namespace, the definitions
// of its own kinds, which are a file of their own so that to delete the rest deletes no object of them, and what cleans the nodes up
// afterwards.
func Manifests(c *Chart) (map[string]string, error) {
	r, err := c.Render(map[string]any{"namespace": map[string]any{"create": true}})
	if err != nil {
		return nil, fmt.Errorf("make the plain manifests: %w", err)
	}
	definitions, err := c.CRDs()
	if err != nil {
		return nil, fmt.Errorf("make the plain manifests: %w", err)
	}
	var cleaning []Object
	for _, o := range r.Hooks {
		switch o.Typed.(type) {
		// The wait for them is kubectl rollout status.
		case *corev1.ServiceAccount, *appsv1.DaemonSet:
			cleaning = append(cleaning, o)
		}
	}
	return map[string]string{
		"crds.yaml":     plainHeader + Join(definitions),
		"holdfast.yaml": plainHeader + Join(r.Objects),
		"clean-up.yaml": plainHeader + Join(cleaning),
	}, nil
}

func newReader(data []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(data)) }
