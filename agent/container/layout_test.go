// SPDX-License-Identifier: Apache-2.0

package container

import (
	"strings"
	"testing"
)

const (
	hexA = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	hexB = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	uidA = "11111111-2222-3333-4444-555555555555"
	uidU = "11111111_2222_3333_4444_555555555555"
	uidS = "0123456789abcdef0123456789abcdef"
)

func TestParsePath(t *testing.T) {
	burstable := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uidU + ".slice"
	for _, tc := range []struct {
		path string
		want Layout
	}{
		// Kubernetes, cgroupfs driver.
		{"/kubepods/besteffort/pod" + uidA, Layout{PodUID: uidA}},
		{"/kubepods/besteffort/pod" + uidA + "/" + hexA, Layout{ContainerID: hexA, PodUID: uidA}},
		{"/kubepods/pod" + uidA + "/" + hexA, Layout{ContainerID: hexA, PodUID: uidA}},
		{"/kubepods/burstable/pod" + uidS + "/" + hexA, Layout{ContainerID: hexA, PodUID: uidS}},
		{"/some/prefix/kubepods/burstable/pod" + uidA + "/" + hexA, Layout{ContainerID: hexA, PodUID: uidA}},
		{"/kubepods/pod" + uidA + "/crio-" + hexA, Layout{ContainerID: hexA, PodUID: uidA, Runtime: "cri-o"}},
		// Kubernetes, systemd driver.
		{burstable, Layout{PodUID: uidA}},
		{burstable + "/cri-containerd-" + hexA + ".scope", Layout{ContainerID: hexA, PodUID: uidA, Runtime: "containerd"}},
		{burstable + "/crio-" + hexA + ".scope", Layout{ContainerID: hexA, PodUID: uidA, Runtime: "cri-o"}},
		{burstable + "/docker-" + hexA + ".scope", Layout{ContainerID: hexA, PodUID: uidA, Runtime: "docker"}},
		{"/kubepods.slice/kubepods-pod" + uidU + ".slice/cri-containerd-" + hexA + ".scope",
			Layout{ContainerID: hexA, PodUID: uidA, Runtime: "containerd"}},
		{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uidU + ".slice/cri-containerd-" + hexA + ".scope",
			Layout{ContainerID: hexA, PodUID: uidA, Runtime: "containerd"}},
		// crun puts the processes one level deeper.
		{burstable + "/cri-containerd-" + hexA + ".scope/container",
			Layout{ContainerID: hexA, PodUID: uidA, Runtime: "containerd"}},
		// Drivers of kubelet and runtime differ.
		{"/system.slice/kubepods-burstable-pod" + uidU + ".slice:cri-containerd:" + hexA,
			Layout{ContainerID: hexA, PodUID: uidA, Runtime: "containerd"}},
		// Without Kubernetes.
		{"/docker/" + hexA, Layout{ContainerID: hexA}},
		{"/system.slice/docker-" + hexA + ".scope", Layout{ContainerID: hexA, Runtime: "docker"}},
		{"/machine.slice/libpod-" + hexA + ".scope/container", Layout{ContainerID: hexA, Runtime: "podman"}},
		{"/libpod_parent/libpod-" + hexA, Layout{ContainerID: hexA, Runtime: "podman"}},
		{"/system.slice/nerdctl-" + hexA + ".scope", Layout{ContainerID: hexA, Runtime: "containerd"}},
		{"/default/" + hexA, Layout{ContainerID: hexA}},
		{"/kubepods/pod" + uidA + "/kata_" + hexA, Layout{ContainerID: hexA, PodUID: uidA, Runtime: "kata"}},
		// The outermost container is the one that counts.
		{"/docker/" + hexA + "/docker/" + hexB, Layout{ContainerID: hexA}},
		{"/docker/" + hexA + "/kubepods/pod" + uidA + "/" + hexB, Layout{ContainerID: hexA}},
		// Not containers.
		{"", Layout{}},
		{"/", Layout{}},
		{"/system.slice/ssh.service", Layout{}},
		{"/user.slice/user-1000.slice/session-1.scope", Layout{}},
		{"/machine.slice/libpod-conmon-" + hexA + ".scope", Layout{}},
		{"/kubepods.slice/kubepods-pod" + uidU + ".slice/crio-conmon-" + hexA + ".scope", Layout{PodUID: uidA}},
		{"/default/web", Layout{}},
		{"/system.slice/" + hexA[:63], Layout{}},
		{"/system.slice/" + strings.ToUpper(hexA), Layout{}},
		{"/x.slice/x-pod" + uidU + ".slice", Layout{}},
		{"/kubepods/podx", Layout{}},
		{"/kubepods/pod11111111-2222-3333-4444-55555555555g", Layout{}},
		{"/kubepods/pod11111111122221333314444-555555555555", Layout{}},
		{"/-" + hexA + ".scope", Layout{}},
		{"/a:b:c", Layout{}},
		{"/a:b", Layout{}},
	} {
		got, ok := ParsePath(tc.path)
		if got != tc.want || ok != (tc.want != Layout{}) {
			t.Errorf("ParsePath(%q) = %+v, %v; want %+v", tc.path, got, ok, tc.want)
		}
	}
}

func TestExpectedPath(t *testing.T) {
	for _, tc := range []struct {
		cgroupsPath, id string
		want            string
		exact           bool
	}{
		{"/kubepods/besteffort/pod1/" + hexA, hexA, "/kubepods/besteffort/pod1/" + hexA, true},
		{"/default/web", "web", "/default/web", true},
		{"/lab//x/../y/", "y", "/lab/y", true},
		{"/../../etc", "x", "/etc", true},
		{"kubepods-besteffort-pod1_2.slice:cri-containerd:abc", "abc",
			"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-abc.scope", true},
		{":docker:abc", "abc", "/system.slice/docker-abc.scope", true},
		{"-.slice:docker:abc", "abc", "/docker-abc.scope", true},
		{"a.slice::abc", "abc", "/a.slice/abc.scope", true},
		{"a.slice:x:b.slice", "b", "/a.slice/b.slice", true},
		{"relative/x", "x", "/relative/x", false},
		{"", "web", "/web", false},
		{"", "", "", false},
		{"/", "x", "", false},
		{"..", "x", "", false},
	} {
		got, exact := ExpectedPath(tc.cgroupsPath, tc.id)
		if got != tc.want || exact != tc.exact {
			t.Errorf("ExpectedPath(%q, %q) = %q, %v; want %q, %v", tc.cgroupsPath, tc.id, got, exact, tc.want, tc.exact)
		}
	}
}

func TestOwnerOf(t *testing.T) {
	for _, tc := range []struct {
		pod    string
		labels map[string]string
		want   Owner
	}{
		{"web-6d4cf56db6-x7x2p", map[string]string{"pod-template-hash": "6d4cf56db6"}, Owner{"Deployment", "web"}},
		{"my-web-api-6d4cf56db6-x7x2p", map[string]string{"pod-template-hash": "6d4cf56db6"}, Owner{"Deployment", "my-web-api"}},
		{"web", map[string]string{"pod-template-hash": "6d4cf56db6"}, Owner{"Pod", "web"}},
		{"6d4cf56db6-x7x2p", map[string]string{"pod-template-hash": "6d4cf56db6"}, Owner{"Pod", "6d4cf56db6-x7x2p"}},
		{"db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "db-77"}, Owner{"StatefulSet", "db"}},
		{"fluent-bit-abcde", map[string]string{"controller-revision-hash": "77", "pod-template-generation": "1"}, Owner{"DaemonSet", "fluent-bit"}},
		{"backup-x7x2p", map[string]string{"job-name": "backup"}, Owner{"Job", "backup"}},
		{"backup-28912345-x7x2p", map[string]string{"batch.kubernetes.io/job-name": "backup-28912345"}, Owner{"CronJob", "backup"}},
		{"web", nil, Owner{"Pod", "web"}},
	} {
		if got := OwnerOf(tc.pod, tc.labels); got != tc.want {
			t.Errorf("OwnerOf(%q, %v) = %+v, want %+v", tc.pod, tc.labels, got, tc.want)
		}
	}
}

// FuzzParsePath checks what must hold for any path: ids and uids have their form and are parts of the path, and
// everything below a container is that container's.
func FuzzParsePath(f *testing.F) {
	f.Add("/kubepods/besteffort/pod" + uidA + "/" + hexA)
	f.Add("/kubepods.slice/kubepods-pod" + uidU + ".slice/cri-containerd-" + hexA + ".scope/container")
	f.Add("/system.slice/kubepods-pod" + uidU + ".slice:cri-containerd:" + hexA)
	f.Add("//:::/.scope/.slice/-pod")
	f.Fuzz(func(t *testing.T, p string) {
		l, ok := ParsePath(p)
		if ok != (l.ContainerID != "" || l.PodUID != "") {
			t.Fatalf("ok is %v for %+v", ok, l)
		}
		if l.ContainerID != "" && (!isHexID(l.ContainerID) || !strings.Contains(p, l.ContainerID)) {
			t.Fatalf("container id %q", l.ContainerID)
		}
		if l.PodUID != "" && podUID(l.PodUID) != l.PodUID {
			t.Fatalf("pod uid %q", l.PodUID)
		}
		if l.ContainerID != "" {
			if below, _ := ParsePath(p + "/kubepods/pod" + uidS + "/" + hexB); below.ContainerID != l.ContainerID {
				t.Fatalf("below %q: %+v", p, below)
			}
		}
	})
}

// FuzzExpectedPath checks that a path from a spec is clean and absolute, so that it can be compared.
func FuzzExpectedPath(f *testing.F) {
	f.Add("/kubepods/x", "x")
	f.Add("a-b.slice:p:n", "n")
	f.Add("../..", "")
	f.Fuzz(func(t *testing.T, cgroupsPath, id string) {
		p, exact := ExpectedPath(cgroupsPath, id)
		if p == "" {
			if exact {
				t.Fatal("no path, but exact")
			}
			return
		}
		if p[0] != '/' || p == "/" || strings.Contains(p, "//") || strings.HasSuffix(p, "/") ||
			strings.Contains(p+"/", "/../") || strings.Contains(p+"/", "/./") {
			t.Fatalf("path %q", p)
		}
	})
}
