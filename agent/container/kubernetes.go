// SPDX-License-Identifier: Apache-2.0

package container

import (
	"maps"
	"strings"
)

// Labels that the kubelet puts on the containers and sandboxes that it asks a runtime for.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"
)

// runtimeLabels begin the labels of a sandbox that are not its pod's: the kubelet's, which only repeat the pod's name, and
// the runtime's own.
var runtimeLabels = [...]string{"io.kubernetes.pod.", "io.cri-containerd", "containerd.io/", "oci_runtime_type"}

// PodLabels are a pod's labels: those of its sandbox without what the kubelet and the runtime add. The result is never nil,
// because "no labels" is an answer too.
func PodLabels(sandbox map[string]string) map[string]string {
	own := make(map[string]string, len(sandbox))
	maps.Copy(own, sandbox)
	maps.DeleteFunc(own, func(key, _ string) bool {
		for _, prefix := range runtimeLabels {
			if strings.HasPrefix(key, prefix) {
				return true
			}
		}
		return false
	})
	return own
}
