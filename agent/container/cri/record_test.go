// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"net/netip"
	"testing"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-project/holdfast/agent/container"
)

func TestImage(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		spec                   *runtimev1.ImageSpec
		ref, id                string
		image, digest, imageID string
	}{
		{"containerd 2", &runtimev1.ImageSpec{Image: "sha256:c", UserSpecifiedImage: "acme/web:1"}, "docker.io/acme/web@sha256:m", "sha256:c",
			"acme/web:1", "sha256:m", "sha256:c"},
		{"containerd 1.6 status", &runtimev1.ImageSpec{Image: "docker.io/acme/web:1"}, "docker.io/acme/web@sha256:m", "",
			"docker.io/acme/web:1", "sha256:m", ""},
		{"containerd 1.6 list", &runtimev1.ImageSpec{Image: "docker.io/acme/web:1"}, "sha256:c", "", "docker.io/acme/web:1", "", "sha256:c"},
		{"the name is only in the reference", &runtimev1.ImageSpec{Image: "sha256:c"}, "docker.io/acme/web@sha256:m", "",
			"docker.io/acme/web", "sha256:m", ""},
		{"nothing", nil, "", "", "", "", ""},
	} {
		image, digest, id := image(tc.spec, tc.ref, tc.id)
		if image != tc.image || digest != tc.digest || id != tc.imageID {
			t.Errorf("%s: %q %q %q", tc.name, image, digest, id)
		}
	}
}

func newSource(t *testing.T, book *container.AddressBook) *Source {
	t.Helper()
	r, err := container.New(container.Config{Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := r.Feed("cri", container.RankCRI)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Socket: "/nonexistent", Feed: feed, Book: book})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestListedTakesThePodFromTheSandbox(t *testing.T) {
	s := newSource(t, nil)
	c := &runtimev1.Container{Id: "c1", PodSandboxId: "s1", Labels: map[string]string{container.LabelPodName: "by-label"}}
	if rec := s.listed(c, nil); rec.Pod != "by-label" || rec.SandboxID != "s1" || !rec.Created.IsZero() {
		t.Errorf("without the sandbox: %+v", rec)
	}
	pod := &runtimev1.PodSandbox{Metadata: &runtimev1.PodSandboxMetadata{Name: "web", Uid: "u", Namespace: "shop"}}
	if rec := s.listed(c, pod); rec.Pod != "web" || rec.PodUID != "u" || rec.Namespace != "shop" {
		t.Errorf("with the sandbox: %+v", rec)
	}
}

func TestAddresses(t *testing.T) {
	book := container.NewAddressBook()
	s := newSource(t, book)
	status := &runtimev1.PodSandboxStatus{
		Id: "s1", Metadata: &runtimev1.PodSandboxMetadata{Name: "web", Namespace: "shop"},
		Network: &runtimev1.PodSandboxNetworkStatus{
			Ip: "10.0.0.1", AdditionalIps: []*runtimev1.PodIP{{Ip: "fd00::1"}, {Ip: "not an address"}},
		},
	}
	s.addresses(status)
	for _, a := range []string{"10.0.0.1", "fd00::1"} {
		if e, ok := book.Lookup(netip.MustParseAddr(a)); !ok || e.Name != "web" || e.Namespace != "shop" {
			t.Errorf("%s: %+v", a, e)
		}
	}
	status.State = runtimev1.PodSandboxState_SANDBOX_NOTREADY
	s.addresses(status)
	if n, _ := book.Len(); n != 0 {
		t.Errorf("%d addresses of a stopped pod", n)
	}
}

func TestPostpone(t *testing.T) {
	s := newSource(t, nil)
	n := notice{Query: container.Query{ID: "c1"}}
	var later []notice
	for range retries {
		later = s.postpone(nil, n)
		if len(later) != 1 {
			t.Fatalf("attempt %d is not put off", n.attempt)
		}
		if _, rest, ok := due(later, later[0].due.Add(-time.Millisecond)); ok || len(rest) != 1 {
			t.Error("due before its time")
		}
		var ok bool
		if n, later, ok = due(later, later[0].due); !ok || len(later) != 0 {
			t.Error("not due in its time")
		}
	}
	if later = s.postpone(later, n); len(later) != 0 || s.Stats().NotFound != 1 {
		t.Errorf("after the last attempt: %+v, %+v", later, s.Stats())
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{Socket: "x"}); err == nil {
		t.Error("a source without a feed is accepted")
	}
	r, err := container.New(container.Config{Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	feed, err := r.Feed("cri", container.RankCRI)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Feed: feed}); err == nil {
		t.Error("a source without a socket is accepted")
	}
}
