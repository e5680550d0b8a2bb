// SPDX-License-Identifier: Apache-2.0

package container

import (
	"path"
	"strings"
)

// Layout is what the name of a cgroup directory says by itself.
type Layout struct {
	// ContainerID is set when the directory is a container's.
	ContainerID string
	// PodUID is set when the name carries a pod's uid, in the form with dashes.
	PodUID string
	// Runtime is the runtime that uses this naming, if only one does.
	Runtime string
}

// Lengths of the two forms of a pod uid: a UUID, and the hash that the kubelet gives to pods from manifest files.
const (
	uuidLen      = 36
	staticUIDLen = 32
	hexIDLen     = 64
)

// ParsePath reads a whole cgroup path. It returns the topmost container in it, because whatever is below belongs to that
// one, with the pod uid found above or in its name. ok is false when the path names neither pod nor container.
func ParsePath(p string) (l Layout, ok bool) {
	for p != "" {
		var name string
		name, p, _ = strings.Cut(strings.TrimPrefix(p, "/"), "/")
		step := ParseName(name)
		if step.PodUID != "" {
			l.PodUID = step.PodUID
		}
		if step.ContainerID != "" {
			l.ContainerID, l.Runtime = step.ContainerID, step.Runtime
			return l, true
		}
	}
	return l, l.PodUID != ""
}

// ParseName reads one directory name. The forms it knows:
//
//	pod<uid>, kubepods-burstable-pod<uid_with_underscores>.slice          a pod
//	<64 hex>                                                              a container, cgroupfs driver
//	cri-containerd-<id>.scope, docker-<id>.scope, crio-<id>.scope, …      a container, systemd driver
//	crio-<id>, libpod-<id>                                                a container, cgroupfs driver
//	<slice>:cri-containerd:<id>                                           kubelet and runtime with different drivers
//	kata_<id>                                                             a virtual machine sandbox
//
// The scopes of conmon, which is the runtime's own process beside the container, are not containers.
func ParseName(name string) Layout {
	if isHexID(name) {
		return Layout{ContainerID: name}
	}
	if body, ok := strings.CutSuffix(name, ".scope"); ok {
		return prefixed(body)
	}
	if body, ok := strings.CutSuffix(name, ".slice"); ok {
		return Layout{PodUID: sliceUID(body)}
	}
	if uid, ok := strings.CutPrefix(name, "pod"); ok {
		return Layout{PodUID: podUID(uid)}
	}
	if id, ok := strings.CutPrefix(name, "kata_"); ok && isHexID(id) {
		return Layout{ContainerID: id, Runtime: "kata"}
	}
	if slice, rest, ok := strings.Cut(name, ":"); ok {
		return triple(slice, rest)
	}
	return prefixed(name)
}

// triple reads the systemd form of cgroupsPath that a runtime with the cgroupfs driver takes literally.
func triple(slice, rest string) Layout {
	prefix, id, ok := strings.Cut(rest, ":")
	if !ok || !isHexID(id) {
		return Layout{}
	}
	l := Layout{ContainerID: id, Runtime: runtimeOf(prefix)}
	if body, ok := strings.CutSuffix(slice, ".slice"); ok {
		l.PodUID = sliceUID(body)
	}
	return l
}

// prefixed reads "<runtime>-<64 hex>".
func prefixed(body string) Layout {
	cut := len(body) - hexIDLen - 1
	if cut < 1 || body[cut] != '-' || !isHexID(body[cut+1:]) {
		return Layout{}
	}
	prefix := body[:cut]
	if strings.HasSuffix(prefix, "conmon") {
		return Layout{}
	}
	return Layout{ContainerID: body[cut+1:], Runtime: runtimeOf(prefix)}
}

// runtimeOf maps the prefix of a scope to the runtime's name.
func runtimeOf(prefix string) string {
	switch prefix {
	case "cri-containerd", "nerdctl":
		return "containerd"
	case "crio":
		return "cri-o"
	case "libpod":
		return "podman"
	default:
		return prefix
	}
}

// sliceUID finds the pod uid at the end of a slice name such as kubepods-besteffort-pod<uid>.
func sliceUID(body string) string {
	i := strings.LastIndex(body, "-pod")
	if i < 0 || !strings.Contains(body[:i], "kubepods") {
		return ""
	}
	return podUID(body[i+len("-pod"):])
}

// podUID returns the uid with dashes, or nothing if it is not one.
func podUID(s string) string {
	switch len(s) {
	case staticUIDLen:
		if isHex(s) {
			return s
		}
	case uuidLen:
		uid := strings.ReplaceAll(s, "_", "-")
		for _, part := range []struct{ from, to int }{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
			if !isHex(uid[part.from:part.to]) || (part.to < uuidLen && uid[part.to] != '-') {
				return ""
			}
		}
		return uid
	}
	return ""
}

func isHexID(s string) bool { return len(s) == hexIDLen && isHex(s) }

func isHex(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ExpectedPath turns the cgroupsPath of an OCI spec into the path below the cgroup2 mount at which the runtime will make
// the cgroup. exact is false when the runtime resolves it against a cgroup of its own, so that only the end of the path
// is known. The rules are runc's: "slice:prefix:name" is systemd's form, an absolute path is taken as it is, a relative
// one is placed below the runtime's own cgroup, and none means the container's id.
func ExpectedPath(cgroupsPath, id string) (p string, exact bool) {
	if slice, rest, ok := strings.Cut(cgroupsPath, ":"); ok && !strings.Contains(cgroupsPath, "/") {
		prefix, name, ok := strings.Cut(rest, ":")
		if ok && name != "" && !strings.Contains(name, ":") {
			return path.Join(slicePath(slice), unitName(prefix, name)), true
		}
	}
	if cgroupsPath == "" {
		if id == "" {
			return "", false
		}
		return path.Join("/", id), false
	}
	p = path.Join("/", cgroupsPath)
	if p == "/" {
		return "", false
	}
	return p, strings.HasPrefix(cgroupsPath, "/")
}

// unitName is the systemd unit of a container.
func unitName(prefix, name string) string {
	switch {
	case strings.HasSuffix(name, ".slice"):
		return name
	case prefix == "":
		return name + ".scope"
	default:
		return prefix + "-" + name + ".scope"
	}
}

// slicePath expands a slice to its path: a-b.slice lies in a.slice.
func slicePath(slice string) string {
	if slice == "" {
		slice = "system.slice"
	}
	body, ok := strings.CutSuffix(slice, ".slice")
	if !ok || body == "-" {
		return "/"
	}
	p := "/"
	for i := range len(body) {
		if body[i] == '-' {
			p = path.Join(p, body[:i]+".slice")
		}
	}
	return path.Join(p, slice)
}
