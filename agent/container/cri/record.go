// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"net/netip"
	"strings"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-project/holdfast/agent/container"
)

// addressSource is this package's name in the address book.
const addressSource = "cri"

// sandboxRecord reads a sandbox of a list or a status, which share these fields.
func (s *Source) sandboxRecord(
	id string, m *runtimev1.PodSandboxMetadata, labels, annotations map[string]string, created int64,
) container.Record {
	return container.Record{
		Key: container.Key{RuntimeNamespace: s.cfg.Namespace, ID: id}, Runtime: s.runtimeName(), Sandbox: true,
		Name: "pause", SandboxID: id,
		Pod: m.GetName(), PodUID: m.GetUid(), Namespace: m.GetNamespace(),
		PodLabels: container.PodLabels(labels), Annotations: annotations, Created: nanos(created),
	}
}

// listed reads a container of a list. Its pod is read from its sandbox where that is at hand, because runtimes without a
// kubelet set no labels.
func (s *Source) listed(c *runtimev1.Container, pod *runtimev1.PodSandbox) container.Record {
	labels := c.GetLabels()
	rec := container.Record{
		Key: container.Key{RuntimeNamespace: s.cfg.Namespace, ID: c.GetId()}, Runtime: s.runtimeName(),
		Name: c.GetMetadata().GetName(), SandboxID: c.GetPodSandboxId(), Labels: labels, Created: nanos(c.GetCreatedAt()),
		Pod: labels[container.LabelPodName], PodUID: labels[container.LabelPodUID], Namespace: labels[container.LabelPodNamespace],
	}
	rec.Image, rec.ImageDigest, rec.ImageID = image(c.GetImage(), c.GetImageRef(), c.GetImageId())
	if m := pod.GetMetadata(); m != nil {
		rec.Pod, rec.PodUID, rec.Namespace = m.GetName(), m.GetUid(), m.GetNamespace()
	}
	return rec
}

// image reads CRI's three ways to name an image. ref is "name@sha256:…" or the bare config digest; id is the config
// digest, which older runtimes leave out.
func image(spec *runtimev1.ImageSpec, ref, id string) (name, digest, config string) {
	for _, s := range []string{spec.GetUserSpecifiedImage(), spec.GetImage()} {
		if s != "" && !isDigest(s) {
			name = s
			break
		}
	}
	config = bareDigest(id)
	switch repo, d, found := strings.Cut(ref, "@"); {
	case found:
		digest = d
		if name == "" {
			name = repo
		}
	case config == "":
		config = bareDigest(ref)
	}
	return name, digest, config
}

func isDigest(s string) bool { return strings.HasPrefix(s, "sha256:") }

func bareDigest(s string) string {
	if isDigest(s) {
		return s
	}
	return ""
}

// runtimeName maps the runtime's own name to the registry's.
func (s *Source) runtimeName() string {
	if p := s.name.Load(); p != nil {
		return *p
	}
	return ""
}

// nanos reads CRI's times, nanoseconds since 1970 with 0 for none.
func nanos(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, t)
}

// addresses enters a sandbox's addresses into the book, or takes them back when the sandbox has stopped.
func (s *Source) addresses(p *runtimev1.PodSandboxStatus) {
	if s.cfg.Book == nil {
		return
	}
	s.cfg.Book.ReleaseAll(addressSource, p.GetId())
	if p.GetState() != runtimev1.PodSandboxState_SANDBOX_READY {
		return
	}
	ips := []string{p.GetNetwork().GetIp()}
	for _, extra := range p.GetNetwork().GetAdditionalIps() {
		ips = append(ips, extra.GetIp())
	}
	e := container.Endpoint{
		Kind: container.EndpointPod, Name: p.GetMetadata().GetName(), Namespace: p.GetMetadata().GetNamespace(),
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil {
			s.cfg.Book.Set(addressSource, p.GetId(), a, e)
		}
	}
}
