// SPDX-License-Identifier: Apache-2.0

package nri

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// recorded is a request's payload as containerd 2.4 sent it.
func recorded(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	recordedID  = "60f70028b5fec599ab3c3cd7c02ee68f98de821a2d0461734a32f38ae28bbedf"
	recordedPod = "b59ad420cd43afd3bf592d170533a374f6c6a33026579db3917c74d5d174b4d0"
	recordedUID = "92f7ed22-d713-4dc1-a553-e6f221f80a29"
)

func TestRecorded(t *testing.T) {
	created, err := readSubject(recorded(t, "create"))
	if err != nil {
		t.Fatal(err)
	}
	started, err := readSubject(recorded(t, "start"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := readListing(recorded(t, "synchronize"))
	if err != nil || len(list.pods) != 1 || len(list.boxes) != 1 || list.more {
		t.Fatalf("%+v, %v", list, err)
	}
	if created.box.pid != 0 || started.box.pid == 0 {
		t.Errorf("first process %d before the start and %d at it", created.box.pid, started.box.pid)
	}
	for name, s := range map[string]subject{"create": created, "start": started, "listing": {pod: list.pods[0], box: list.boxes[0]}} {
		p, b := s.pod, s.box
		if p.id != recordedPod || p.name != "web" || p.namespace != "shop" || p.uid != recordedUID || p.annotations["holdfast.dev/mode"] != "enforce" {
			t.Errorf("%s: pod %+v", name, p)
		}
		if b.id != recordedID || b.sandbox != recordedPod || b.name != "web" || b.labels["io.kubernetes.container.name"] != "web" ||
			b.image != "docker.io/library/busybox:lab" || !strings.HasPrefix(b.digest, "sha256:") || !strings.HasSuffix(b.cgroupsPath, "/pod"+recordedUID+"/"+recordedID) {
			t.Errorf("%s: container %+v", name, b)
		}
	}
	if name, version, err := readConfigure(recorded(t, "configure")); err != nil || name != "containerd" || version == "" {
		t.Errorf("runtime %q %q, %v", name, version, err)
	}
}

// boxMessage is a container with an id, as a field of a request.
func boxMessage(num protowire.Number, id string, more ...byte) []byte {
	body := append(appendText(nil, 1, id), more...)
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), body)
}

func TestBadRequests(t *testing.T) {
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "container id of 0 bytes"},
		{"no container", boxMessage(1, "pod"), "container id of 0 bytes"},
		{"long id", boxMessage(2, strings.Repeat("a", maxID+1)), "129 bytes"},
		{"id with a path", boxMessage(2, "../host"), `'/' is not allowed`},
		{"cut off", boxMessage(2, "abc")[:4], "field 2"},
		{"cut off within", boxMessage(2, "abc", 0x2a, 0x05, 0x0a), "field 2: field 5"},
		{"no tag", []byte{0x00}, "invalid field number"},
	} {
		if _, err := readSubject(test.data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// TestEntriesAreBounded gives a container more labels than are read.
func TestEntriesAreBounded(t *testing.T) {
	var labels []byte
	for i := range 3 * maxEntries {
		entry := appendText(appendText(nil, 1, "key"+strconv.Itoa(i)), 2, "value")
		labels = protowire.AppendBytes(protowire.AppendTag(labels, 5, protowire.BytesType), entry)
	}
	s, err := readSubject(boxMessage(2, "abc", labels...))
	if err != nil || len(s.box.labels) != maxEntries {
		t.Errorf("%d labels were read, %v", len(s.box.labels), err)
	}
}

func FuzzRequests(f *testing.F) {
	// Short ones: the time goes into making what was found shorter otherwise.
	label := appendText(appendText(nil, 1, "app"), 2, "web")
	labels := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), label)
	f.Add(recorded(f, "configure"))
	f.Add(append(boxMessage(1, "pod", labels...), boxMessage(2, "abc", labels...)...))
	f.Add(appendNumber(append(boxMessage(2, "pod"), boxMessage(3, "abc", labels...)...), 1, eventStartContainer))
	f.Add(boxMessage(2, "abc", 0x2a, 0x05, 0x0a))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := readSubject(data); err == nil && (s.box.id == "" || strings.ContainsAny(s.box.id, "/\x00\n")) {
			t.Errorf("id %q was let through", s.box.id)
		}
		list, err := readListing(data)
		for _, b := range list.boxes {
			if err == nil && len(b.labels)+len(b.annotations) > 2*maxEntries {
				t.Error("more labels than are to be read")
			}
		}
		_, _ = readChange(data)
		_, _ = readCall(data)
		_, _, _ = readConfigure(data)
		_ = readReply(data)
	})
}
