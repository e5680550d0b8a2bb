// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"reflect"
	"testing"
	"time"

	containersv1 "github.com/containerd/containerd/api/services/containers/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-project/holdfast/agent/container"
)

func text(data []byte, num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(data, num, protowire.BytesType), s)
}

func number(data []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(data, num, protowire.VarintType), v)
}

func TestReadBody(t *testing.T) {
	for _, tc := range []struct {
		name string
		data []byte
		pid  protowire.Number
		want body
	}{
		{"ContainerCreate", text(text(text(nil, 1, "c1"), 2, "img"), 3, "runtime"), 0, body{name: "c1", image: "img"}},
		{"TaskStart", number(text(nil, 1, "c1"), 2, 77), fieldStartPID, body{name: "c1", pid: 77}},
		{"TaskCreate", number(text(text(text(nil, 1, "c1"), 2, "/bundle"), 3, "mount"), 6, 78), fieldCreatePID,
			body{name: "c1", image: "/bundle", pid: 78}},
		{"unknown fields", text(number(text(nil, 1, "c1"), 900, 5), 901, "x"), 0, body{name: "c1"}},
	} {
		if got, err := readBody(tc.data, tc.pid); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v; want %+v", tc.name, got, err, tc.want)
		}
	}
	for name, data := range map[string][]byte{
		"empty":       nil,
		"no name":     text(nil, 2, "img"),
		"cut short":   text(nil, 1, "c1")[:3],
		"cut tag":     {0x80},
		"wrong type":  number(nil, 1, 5),
		"zero number": {0x00, 0x00},
	} {
		if got, err := readBody(data, 0); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzReadBody(f *testing.F) {
	f.Add(number(text(nil, 1, "c1"), 2, 77), int32(2))
	f.Add([]byte{0x80}, int32(6))
	f.Fuzz(func(t *testing.T, data []byte, pid int32) {
		if b, err := readBody(data, protowire.Number(pid)); (err == nil) != (b.name != "") {
			t.Fatalf("%+v, %v", b, err)
		}
	})
}

func TestRecordOf(t *testing.T) {
	created := time.Unix(1000, 5).UTC()
	base := func(labels map[string]string, spec string) *containersv1.Container {
		return &containersv1.Container{
			ID: "c1", Image: "sha256:abc", Labels: labels, Snapshotter: "overlayfs", SnapshotKey: "s1",
			Spec: &anypb.Any{Value: []byte(spec)}, CreatedAt: timestamppb.New(created),
		}
	}
	common := container.Record{
		Key: container.Key{RuntimeNamespace: "k8s.io", ID: "c1"}, Runtime: "containerd", Image: "sha256:abc",
		Snapshotter: "overlayfs", SnapshotKey: "s1", HasSpec: true, Created: created,
	}
	with := func(change func(*container.Record)) container.Record {
		r := common
		change(&r)
		return r
	}
	labels := map[string]string{
		container.LabelPodName: "web", container.LabelPodNamespace: "shop", container.LabelPodUID: "u1", container.LabelContainerName: "app",
		labelKind: "container",
	}
	sandbox := map[string]string{container.LabelPodName: "web", labelKind: kindSandbox, "app": "web"}
	for _, tc := range []struct {
		name string
		in   *containersv1.Container
		want container.Record
	}{
		{"labels alone", base(labels, "{}"), with(func(r *container.Record) {
			r.Labels, r.Pod, r.Namespace, r.PodUID, r.Name = labels, "web", "shop", "u1", "app"
		})},
		{"annotations come first", base(labels, `{"annotations":{"io.kubernetes.cri.sandbox-name":"web-2",
			"io.kubernetes.cri.sandbox-id":"s","io.kubernetes.cri.image-name":"docker.io/x:1",
			"io.kubernetes.cri.container-name":"two","io.kubernetes.cri.sandbox-uid":"u2",
			"io.kubernetes.cri.sandbox-namespace":"prod"},"linux":{"cgroupsPath":"/a/b"}}`),
			with(func(r *container.Record) {
				r.Labels, r.Pod, r.Namespace, r.PodUID, r.Name = labels, "web-2", "prod", "u2", "two"
				r.Image, r.SandboxID, r.CgroupsPath = "docker.io/x:1", "s", "/a/b"
			})},
		{"sandbox", base(sandbox, "{}"), with(func(r *container.Record) {
			r.Labels, r.Pod, r.Sandbox, r.SandboxID, r.Name = sandbox, "web", true, "c1", "pause"
			r.PodLabels = map[string]string{"app": "web"}
		})},
		{"a spec that is not JSON", base(nil, "{"), with(func(r *container.Record) { r.HasSpec = false })},
		{"nerdctl", base(map[string]string{"nerdctl/name": "db"}, "{}"), with(func(r *container.Record) {
			r.Labels, r.Name = map[string]string{"nerdctl/name": "db"}, "db"
		})},
	} {
		if got := recordOf("k8s.io", tc.in); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
	if got := recordOf("moby", nil); got.Runtime != "docker" || !got.Created.IsZero() {
		t.Errorf("nothing at all: %+v", got)
	}
}

func TestImageCache(t *testing.T) {
	var c imageCache
	mark := c.mark()
	c.put(mark, "ns", "img", "sha256:1")
	if d, ok := c.get("ns", "img"); !ok || d != "sha256:1" {
		t.Errorf("kept: %q, %v", d, ok)
	}
	if _, ok := c.get("other", "img"); ok {
		t.Error("another namespace's image is found")
	}
	// The answer to a question from before a change is not kept after it.
	mark = c.mark()
	c.forget("ns", "img")
	c.put(mark, "ns", "img", "sha256:1")
	if d, ok := c.get("ns", "img"); ok {
		t.Errorf("stale: %q", d)
	}
	for range 3 * maxImages {
		c.put(c.mark(), "ns", time.Now().String(), "d")
	}
	if len(c.m) > maxImages {
		t.Errorf("%d images kept", len(c.m))
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a source without a feed is accepted")
	}
}
