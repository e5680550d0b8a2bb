// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"maps"
	"strings"

	"github.com/holdfast-project/holdfast/agent/container"
)

// runtimeNotes begin the annotations that a runtime adds to a pod's own.
const runtimeNotes = "io.kubernetes.cri"

// sandboxRecord reads a pod.
func (s *Source) sandboxRecord(p *pod) container.Record {
	return container.Record{
		Key: s.key(p.id), Runtime: s.runtimeName(), Sandbox: true, Name: "pause", SandboxID: p.id,
		Pod: p.name, PodUID: p.uid, Namespace: p.namespace,
		PodLabels: container.PodLabels(p.labels), Annotations: podAnnotations(p.annotations),
	}
}

// boxRecord reads a container with its pod, whose names count more than the container's labels. p.id is empty if the pod is
// not known.
func (s *Source) boxRecord(b *box, p *pod) container.Record {
	rec := container.Record{
		Key: s.key(b.id), Runtime: s.runtimeName(), Name: b.name, SandboxID: b.sandbox, Labels: b.labels,
		Image: b.image, ImageDigest: b.digest, ImageID: b.conf,
		Pod: b.labels[container.LabelPodName], PodUID: b.labels[container.LabelPodUID], Namespace: b.labels[container.LabelPodNamespace],
		CgroupsPath: b.cgroupsPath, HasSpec: b.hasLinux, InitPID: b.pid,
	}
	if strings.HasPrefix(rec.Image, "sha256:") {
		rec.Image = ""
	}
	if p.id != "" {
		rec.Pod, rec.PodUID, rec.Namespace = p.name, p.uid, p.namespace
		rec.PodLabels, rec.Annotations = container.PodLabels(p.labels), podAnnotations(p.annotations)
	}
	return rec
}

func (s *Source) key(id string) container.Key {
	return container.Key{RuntimeNamespace: s.cfg.Namespace, ID: id}
}

// podAnnotations are a pod's own. Like labels they are never nil.
func podAnnotations(all map[string]string) map[string]string {
	own := make(map[string]string, len(all))
	maps.Copy(own, all)
	maps.DeleteFunc(own, func(key, _ string) bool { return strings.HasPrefix(key, runtimeNotes) })
	return own
}

// runtimeName is what the runtime calls itself.
func (s *Source) runtimeName() string {
	if p := s.runtime.Load(); p != nil {
		return *p
	}
	return ""
}
