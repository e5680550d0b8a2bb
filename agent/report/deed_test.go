// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// ev makes an enriched event of a body and its texts.
func ev[T any](t *testing.T, typ wire.Type, p *proc.Process, reason wire.Reason, body T, texts ...string) *event.Event {
	t.Helper()
	head := (*wire.Head)(unsafe.Pointer(&body))
	head.Type, head.Reason = uint16(typ), uint8(reason)
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&body)), unsafe.Sizeof(body))...)
	e := new(event.Event)
	if err := e.Decode(append(raw, strings.Join(texts, "")...)); err != nil {
		t.Fatal(err)
	}
	e.Process = p
	return e
}

// service runs as the container's first program, from a file on the file system 7.
func service() *proc.Process {
	p := &proc.Process{
		PID: 20, Origin: 77, Session: proc.SessionEntrypoint, Execs: 1, Before: &proc.Image{Exe: "/usr/bin/runc"},
		Image: &proc.Image{Exe: "/usr/sbin/nginx", Argv: "nginx\x00-g\x00off\x00", File: wire.File{Device: 7}},
	}
	p.Root = p
	return p
}

func TestDeedsAreHeldAgainstProfiles(t *testing.T) {
	root := service()
	child := &proc.Process{
		PID: 21, Origin: 77, Session: proc.SessionEntrypoint, Execs: 2, Root: root, Parent: root, Before: root.Image,
		Image: &proc.Image{Exe: "/usr/bin/curl", Argv: "curl\x00-u\x00me:secret\x00http://x\x00"},
	}
	runc := &proc.Process{PID: 22, Origin: 77, Image: &proc.Image{Exe: "/memfd:runc"}}
	file := func(device uint32, flags wire.FileFlag) wire.File {
		return wire.File{Device: device, Flags: uint32(flags)}
	}
	op := func(path, target string) wire.FileOp {
		return wire.FileOp{PathLen: uint16(len(path)), TargetLen: uint16(len(target))}
	}
	contact := wire.Net{Family: 2, Protocol: 262, Remote: [16]uint8{192, 0, 2, 1}, RemotePort: 443}
	service := ev(t, wire.TypeConnect, root, wire.ReasonAddress, contact)
	service.Peer = container.Endpoint{Kind: container.EndpointService, Namespace: "shop", Name: "cart"}
	pod := ev(t, wire.TypeConnect, root, wire.ReasonAddress, contact)
	pod.Peer = container.Endpoint{
		Kind: container.EndpointPod, Namespace: "shop", Name: "cart-0", Owner: container.Owner{Kind: "StatefulSet", Name: "cart"},
	}
	question := "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01A\x07Example\x00\x00\x01\x00\x01"
	for _, c := range []struct {
		name string
		ev   *event.Event
		want profile.Deed
	}{
		{"the entrypoint", ev(t, wire.TypeExec, root, 0, wire.Exec{File: file(7, wire.FileOverlay)}), profile.Deed{
			Kind: profile.DoExec, Executable: "/usr/sbin/nginx", Parent: profile.Runtime, Source: profile.FromImage, Arguments: []string{"nginx", "-g", "off"},
		}},
		{"arguments with a secret", ev(t, wire.TypeExec, child, 0, wire.Exec{File: file(7, wire.FileOverlay)}), profile.Deed{
			Kind: profile.DoExec, Executable: "/usr/bin/curl", Parent: "/usr/sbin/nginx", Source: profile.FromImage, Withheld: true,
		}},
		{"an image that is no overlay", ev(t, wire.TypeExec, child, 0, wire.Exec{File: file(7, 0)}), profile.Deed{
			Kind: profile.DoExec, Executable: "/usr/bin/curl", Parent: "/usr/sbin/nginx", Source: profile.FromImage, Withheld: true,
		}},
		{"another overlay", ev(t, wire.TypeExec, child, 0, wire.Exec{File: file(8, wire.FileOverlay)}), profile.Deed{
			Kind: profile.DoExec, Executable: "/usr/bin/curl", Parent: "/usr/sbin/nginx", Source: profile.FromVolume, Withheld: true,
		}},
		{"refused to the runtime", ev(t, wire.TypeExecute, runc, 0, wire.FileOp{File: file(7, wire.FileUpper), PathLen: 6}, "/tmp/x"), profile.Deed{
			Kind: profile.DoExec, Executable: "/tmp/x", Parent: profile.Runtime, Source: profile.FromUpper, Withheld: true,
		}},
		{"refused to the service", ev(t, wire.TypeExecute, root, 0, wire.FileOp{File: file(9, wire.FileMemfd), PathLen: 6}, "/memfd"), profile.Deed{
			Kind: profile.DoExec, Executable: "/memfd", Parent: "/usr/sbin/nginx", Source: profile.FromMemory, Withheld: true,
		}},
		{"a library", ev(t, wire.TypeMmapExec, root, 0, wire.FileOp{File: file(9, wire.FileTmpfs), PathLen: 5}, "/x.so"), profile.Deed{
			Kind: profile.DoMap, Executable: "/usr/sbin/nginx", Path: "/x.so", Source: profile.FromVolume,
		}},
		{"a protected file", ev(t, wire.TypeOpen, root, wire.ReasonProtectedFile, op("/key", ""), "/key"), profile.Deed{
			Kind: profile.DoFile, Executable: "/usr/sbin/nginx", Path: "/key", Access: profile.Read, Protected: true,
		}},
		{"a rename", ev(t, wire.TypeRename, root, 0, op("/a", "/b"), "/a", "/b"), profile.Deed{
			Kind: profile.DoFile, Executable: "/usr/sbin/nginx", Path: "/a", Access: profile.Delete,
		}},
		{"a link", ev(t, wire.TypeLink, root, 0, op("/a", "/b"), "/a", "/b"), profile.Deed{
			Kind: profile.DoFile, Executable: "/usr/sbin/nginx", Path: "/b", Access: profile.Create,
		}},
		{"a mount", ev(t, wire.TypeMount, root, 0, op("/mnt", "proc"), "/mnt", "proc"), profile.Deed{
			Kind: profile.DoFile, Executable: "/usr/sbin/nginx", Path: "/mnt", Access: profile.Write,
		}},
		{"a contact", service, profile.Deed{
			Kind: profile.DoContact, Executable: "/usr/sbin/nginx", Address: report.AddressOf(2, contact.Remote), Protocol: "tcp",
			Port: 443, Services: []string{"shop/cart"},
		}},
		{"a contact with a pod", pod, profile.Deed{
			Kind: profile.DoContact, Executable: "/usr/sbin/nginx", Address: report.AddressOf(2, contact.Remote), Protocol: "tcp",
			Port: 443, Workloads: []string{"shop/StatefulSet/cart"},
		}},
		{"a question", ev(t, wire.TypeDns, root, 0, wire.Dns{MessageLen: uint16(len(question))}, question), profile.Deed{
			Kind: profile.DoAsk, Executable: "/usr/sbin/nginx", Names: []string{"a.example"},
		}},
		{"a port", ev(t, wire.TypeListen, root, 0, wire.Net{Family: 2, Protocol: 6, LocalPort: 80}), profile.Deed{
			Kind: profile.DoListen, Executable: "/usr/sbin/nginx", Protocol: "tcp", Port: 80,
		}},
		{"a socket", ev(t, wire.TypeSocket, root, 0, wire.Net{Family: 2, Kind: 3, Protocol: 1}), profile.Deed{
			Kind: profile.DoSocket, Executable: "/usr/sbin/nginx", Family: "inet", SocketKind: "raw", Protocol: "icmp",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := report.Deed(c.ev)
			if !ok || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			matcher, err := profile.NewMatcher(&profile.Profile{Key: profile.Key{Kind: "Pod", Name: "p", Container: "c"}})
			if err != nil {
				t.Fatal(err)
			}
			if v := matcher.Judge(got); v.Allowed || v.Missing == nil {
				t.Errorf("an empty profile says %+v", v)
			}
		})
	}
	if d, ok := report.Deed(ev(t, wire.TypeExit, root, 0, wire.Exit{})); ok {
		t.Errorf("an exit is %+v", d)
	}
}
