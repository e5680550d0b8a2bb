// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// maxAncestorFields is how many levels of proc.aname[n] are written; Falco's own rules look no further. The whole
// ancestry is in the process object.
const maxAncestorFields = 7

// shortContainerID is how many characters of a container's id Falco shows as container.id.
const shortContainerID = 12

// outputFields returns Falco's fields of an alert: those that follow from the event, and over them the ones that the
// agent named. Fields that Falco types as numbers or booleans are written as such.
func outputFields(a *apiv1.Alert) map[string]any {
	fields := map[string]any{}
	if e := a.GetEvent(); e != nil {
		eventFields(fields, e)
		processFields(fields, e.GetProcess())
		containerFields(fields, e.GetContainer())
		descriptorFields(fields, e)
	}
	for name, value := range a.GetFields() {
		fields[name] = typed(name, value)
	}
	return fields
}

// typed gives a value that came as text the type that Falco gives to the field.
func typed(name, value string) any {
	base, _, _ := strings.Cut(name, "[")
	switch base {
	case "evt.time", "evt.rawtime", "evt.num", "evt.cpu", "evt.rawres", "evt.count", "proc.pid", "proc.ppid", "proc.vpid",
		"proc.pvpid", "proc.apid", "proc.sid", "proc.vpgid", "proc.tty", "proc.cap_effective", "thread.tid", "thread.vtid",
		"user.uid", "user.loginuid", "group.gid", "fd.num", "fd.ino", "fd.dev", "fd.sport", "fd.cport", "fd.lport",
		"fd.rport":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return n
		}
	case "evt.is_open_read", "evt.is_open_write", "evt.is_open_exec", "evt.is_open_create", "evt.failed",
		"proc.is_exe_upper_layer", "proc.is_exe_from_memfd", "proc.is_exe_writable", "container.privileged":
		if b, err := strconv.ParseBool(value); err == nil {
			return b
		}
	}
	return value
}

// syscallName is what Falco calls an event class. Classes that it does not know, or calls alike, keep their names.
func syscallName(class string) string {
	switch class {
	case "exec":
		return "execve"
	case "exit":
		return "procexit"
	case "fork":
		return "clone"
	case "open":
		return "openat"
	case "unlink":
		return "unlinkat"
	case "rename":
		return "renameat"
	case "link":
		return "linkat"
	case "symlink":
		return "symlinkat"
	case "chmod":
		return "fchmodat"
	case "chown":
		return "fchownat"
	case "mmap_exec":
		return "mmap"
	case "module":
		return "init_module"
	case "memfd":
		return "memfd_create"
	case "io_uring":
		return "io_uring_setup"
	default:
		return class
	}
}

func eventFields(fields map[string]any, e *apiv1.Event) {
	fields["evt.time"] = e.GetTimeNs()
	fields["evt.type"] = syscallName(e.GetType())
	if e.Result != nil {
		fields["evt.rawres"] = e.GetResult()
		fields["evt.res"] = "SUCCESS"
		if name := errorName(e.GetResult()); name != "" {
			fields["evt.res"] = name
		}
	}
}

func processFields(fields map[string]any, p *apiv1.Process) {
	if p == nil {
		return
	}
	fields["proc.name"] = p.GetComm()
	fields["proc.exepath"] = p.GetExe()
	fields["proc.cmdline"] = falcoCmdline(p)
	fields["proc.pid"] = p.GetPid()
	fields["thread.tid"] = p.GetTid()
	fields["proc.cwd"] = p.GetCwd()
	fields["user.uid"] = p.GetUid()
	fields["user.loginuid"] = int64(p.GetLoginuid())
	if p.GetLoginuid() == unsetLoginUID {
		fields["user.loginuid"] = int64(-1)
	}
	fields["group.gid"] = p.GetGid()
	if p.GetNsPid() != 0 {
		fields["proc.vpid"] = p.GetNsPid()
	}
	if argv := p.GetArgv(); len(argv) > 0 {
		fields["proc.exe"] = argv[0]
		fields["proc.args"] = strings.Join(argv[1:], " ")
	}
	for _, flag := range p.GetFlags() {
		switch flag {
		case "upper_layer":
			fields["proc.is_exe_upper_layer"] = true
		case "memfd":
			fields["proc.is_exe_from_memfd"] = true
		}
	}
	ancestorFields(fields, p.GetAncestors())
}

func ancestorFields(fields map[string]any, ancestors []*apiv1.Process) {
	for i, a := range ancestors {
		if i == 0 {
			fields["proc.pname"] = a.GetComm()
			fields["proc.ppid"] = a.GetPid()
			fields["proc.pcmdline"] = falcoCmdline(a)
			fields["proc.pexepath"] = a.GetExe()
			continue
		}
		if i >= maxAncestorFields {
			break
		}
		fields[fmt.Sprintf("proc.aname[%d]", i+1)] = a.GetComm()
	}
}

// falcoCmdline is Falco's proc.cmdline: the process's name, then the arguments without the first.
func falcoCmdline(p *apiv1.Process) string {
	if argv := p.GetArgv(); len(argv) > 1 {
		return p.GetComm() + " " + strings.Join(argv[1:], " ")
	}
	return p.GetComm()
}

func containerFields(fields map[string]any, c *apiv1.Container) {
	if c.GetId() == "" {
		fields["container.id"] = "host"
		fields["container.name"] = "host"
		return
	}
	id := c.GetId()
	fields["container.id"] = id[:min(len(id), shortContainerID)]
	fields["container.full_id"] = id
	set(fields, "container.name", c.GetName())
	set(fields, "container.image", c.GetImage())
	repository, tag := splitImage(c.GetImage())
	set(fields, "container.image.repository", repository)
	set(fields, "container.image.tag", tag)
	set(fields, "container.image.digest", c.GetImageDigest())
	set(fields, "k8s.ns.name", c.GetNamespace())
	set(fields, "k8s.pod.name", c.GetPod())
	set(fields, "k8s.pod.uid", c.GetPodUid())
}

func set(fields map[string]any, name, value string) {
	if value != "" {
		fields[name] = value
	}
}

// splitImage parts an image reference into repository and tag. A colon before the last slash belongs to the port of the
// registry, and a digest is neither.
func splitImage(image string) (repository, tag string) {
	repository, _, _ = strings.Cut(image, "@")
	slash := strings.LastIndexByte(repository, '/')
	if colon := strings.LastIndexByte(repository, ':'); colon > slash {
		return repository[:colon], repository[colon+1:]
	}
	return repository, ""
}

// descriptorFields writes what Falco knows of the descriptor that the event concerns.
func descriptorFields(fields map[string]any, e *apiv1.Event) {
	if f := e.GetFile(); f != nil {
		fields["fd.name"] = f.GetPath()
		fields["fd.directory"], fields["fd.filename"] = path.Dir(f.GetPath()), path.Base(f.GetPath())
		fields["fd.type"] = "file"
		if f.GetTarget() != "" {
			fields["fs.path.name"] = f.GetPath()
			fields["fs.path.source"], fields["fs.path.target"] = f.GetPath(), f.GetTarget()
		}
	}
	if n := e.GetNetwork(); n != nil {
		socketFields(fields, e.GetType(), n)
	}
	if d := e.GetDns(); d != nil && d.GetNetwork() != nil {
		socketFields(fields, e.GetType(), d.GetNetwork())
	}
}

// socketFields writes both ends. Falco calls the end that listens the server: that is this end where the event class
// says so, the other end everywhere else.
func socketFields(fields map[string]any, class string, n *apiv1.Network) {
	local := endpointFields{address: n.GetLocalAddress(), port: n.GetLocalPort()}
	remote := endpointFields{address: n.GetRemoteAddress(), port: n.GetRemotePort()}
	client, server := local, remote
	if class == "accept" || class == "listen" || class == "bind" {
		client, server = remote, local
	}
	local.write(fields, "fd.lip", "fd.lport")
	remote.write(fields, "fd.rip", "fd.rport")
	client.write(fields, "fd.cip", "fd.cport")
	server.write(fields, "fd.sip", "fd.sport")
	set(fields, "fd.l4proto", n.GetProtocol())
	set(fields, "fd.type", n.GetFamily())
	if ends := client.String() + "->" + server.String(); ends != "->" {
		fields["fd.name"] = ends
	}
}

type endpointFields struct {
	address string
	port    uint32
}

func (e endpointFields) write(fields map[string]any, addressField, portField string) {
	set(fields, addressField, e.address)
	if e.port != 0 {
		fields[portField] = e.port
	}
}

// String writes the end as Falco does in fd.name, an IPv6 address without brackets.
func (e endpointFields) String() string {
	if e.port == 0 {
		return e.address
	}
	return fmt.Sprintf("%s:%d", e.address, e.port)
}
