// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"bytes"
	"strings"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
)

func always(*Engine, *event.Event) bool { return true }

func (e *Engine) drift(ev *event.Event) bool {
	flags := wire.FileFlag(ev.Exec().File.Flags)
	return flags&wire.FileUpper != 0 && flags&(wire.FileMemfd|wire.FileDeleted) == 0
}

// fileless leaves out the copy of itself that runc runs from memory on the host: that is known by where it comes from,
// not by its name. What runc does once it is in the container's cgroup is no exec of the container's (proc.Process).
func (e *Engine) fileless(ev *event.Event) bool {
	if wire.FileFlag(ev.Exec().File.Flags)&(wire.FileMemfd|wire.FileDeleted) == 0 {
		return false
	}
	return ev.Process.Origin != 0 || !runtimeAncestor(ev.Process)
}

// runtimeAncestor reports whether the process descends directly from a runtime's program on the host.
func runtimeAncestor(p *proc.Process) bool {
	parent := p.Parent
	if parent == nil || parent.Origin != 0 {
		return false
	}
	switch base(parent.Image.Exe) {
	case "runc", "crun", "youki", "containerd-shim-runc-v2", "containerd-shim-runc-v1", "containerd":
		return wire.FileFlag(parent.Image.File.Flags)&(wire.FileUpper|wire.FileTmpfs) == 0
	default:
		return wire.FileFlag(parent.Image.File.Flags)&wire.FileMemfd != 0 && runtimeAncestor(parent)
	}
}

var shells = map[string]bool{
	"sh": true, "bash": true, "dash": true, "ash": true, "zsh": true, "ksh": true, "mksh": true, "fish": true,
	"tcsh": true, "csh": true, "busybox": true,
}

func (e *Engine) socketShell(ev *event.Event) bool {
	return wire.Stdio(ev.Exec().Stdio)&wire.StdinSocket != 0 && shells[base(ev.Process.Image.Exe)]
}

// startWindow is how long after a container's first process a program may start and still count as the service itself,
// so that wrappers and supervisors do not make strangers of what they start. Nanoseconds of the boot clock.
const startWindow = 10e9

// ownService reports whether the process is what the container was made to run: its first process through all its
// execs, workers that were forked from it and run the same program, and what was started within the first seconds.
func ownService(p *proc.Process) bool {
	if p.Session != proc.SessionEntrypoint || p.Root == nil {
		return false
	}
	if p.PID == p.Root.PID && p.Start == p.Root.Start || p.Image == p.Root.Image {
		return true
	}
	started := p.Image.ExecTime
	if started == 0 {
		// No exec was seen, so it may be a worker that was there before the agent. Else what it runs was started before it was
		// forked, or before the agent was there: the window is one for its own start then.
		if p.Image.Exe != "" && p.Image.Exe == p.Root.Image.Exe {
			return true
		}
		started = p.Start
	}
	return started < p.Root.Start+startWindow
}

func (e *Engine) sensitiveRead(ev *event.Event) bool {
	const writeOnly = 1
	return ev.File().Flags&3 != writeOnly && sensitive(ev.Path()) && !ownService(ev.Process)
}

// sensitive reports whether the path is of a file that holds credentials.
func sensitive(path []byte) bool {
	slash := bytes.LastIndexByte(path, '/')
	if slash < 0 {
		return false
	}
	dir, name := path[:slash], path[slash+1:]
	switch string(name) {
	case "shadow", "shadow-", "gshadow", "gshadow-", "sudoers":
		return string(dir) == "/etc"
	case "id_rsa", "id_ecdsa", "id_ed25519", "id_dsa":
		return true
	case "token":
		return bytes.Contains(dir, []byte("secrets/kubernetes.io/serviceaccount"))
	case "credentials":
		return bytes.HasSuffix(dir, []byte("/.aws"))
	case "config":
		return bytes.HasSuffix(dir, []byte("/.kube"))
	case "application_default_credentials.json", "kubelet.conf", "admin.conf":
		return true
	}
	return bytes.HasSuffix(name, []byte(".key")) && bytes.HasPrefix(dir, []byte("/etc/")) ||
		bytes.HasPrefix(dir, []byte("/etc/ssl/private"))
}

// binaryDirs are where programs are installed, each with its slash.
var binaryDirs = []string{"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/", "/usr/libexec/"}

func (e *Engine) binaryWrite(ev *event.Event) bool {
	const accessMode, truncate = 3, 0o1000
	if ev.Type == wire.TypeOpen && ev.File().Flags&accessMode == 0 && ev.File().Flags&truncate == 0 {
		return false
	}
	return inBinaryDir(ev.Path()) || ev.Type != wire.TypeSymlink && inBinaryDir(ev.Target())
}

func inBinaryDir(path []byte) bool {
	for _, dir := range binaryDirs {
		if len(path) > len(dir) && string(path[:len(dir)]) == dir {
			return true
		}
	}
	return false
}

func (e *Engine) metadata(ev *event.Event) bool {
	n := ev.Net()
	for i := range metadataAddresses {
		if m := &metadataAddresses[i]; m.family == n.Family && m.address == n.Remote {
			return true
		}
	}
	return false
}

func (e *Engine) traced(ev *event.Event) bool {
	// include/linux/ptrace.h: reading what /proc shows of another process asks for less.
	const modeAttach = 0x02
	s := ev.Security()
	return s.TargetTgid != ev.Head.Tgid && s.Mode&modeAttach != 0
}

// familyPacket is AF_PACKET, include/linux/socket.h.
const familyPacket = 17

func (e *Engine) rawSocket(ev *event.Event) bool {
	const raw, ipv4, ipv6 = 3, 2, 10
	n := ev.Net()
	return n.Family == familyPacket || n.Kind == raw && (n.Family == ipv4 || n.Family == ipv6)
}

// leftCgroup holds for a move out, and for a child that was born elsewhere (CLONE_INTO_CGROUP).
func (e *Engine) leftCgroup(ev *event.Event) bool {
	if fork := ev.Fork(); fork != nil {
		return fork.ChildOrigin != 0 && fork.ChildCgroup != ev.Head.Cgroup && ev.Has(wire.FlagStrayed)
	}
	return true
}

// base is the last component of a path.
func base(path string) string {
	return path[strings.LastIndexByte(path, '/')+1:]
}

func exeSubject(ev *event.Event) uint64 {
	return hashWord(hashWord(hashSeed, ev.Exec().File.Inode), ev.Head.Time)
}

func pathSubject(ev *event.Event) uint64 {
	if inBinaryDir(ev.Target()) {
		return hashText(hashSeed, ev.Target())
	}
	return hashText(hashSeed, ev.Path())
}
func remoteSubject(ev *event.Event) uint64 {
	return hashWord(hashText(hashSeed, ev.Net().Remote[:]), uint64(ev.Net().RemotePort))
}
func flagsSubject(ev *event.Event) uint64 {
	return hashWord(hashWord(hashSeed, uint64(ev.Type)), ev.Security().Flags)
}
func textSubject(ev *event.Event) uint64   { return hashText(hashSeed, ev.Text()) }
func targetSubject(ev *event.Event) uint64 { return hashWord(hashSeed, ev.Security().TargetStart) }
func socketSubject(ev *event.Event) uint64 {
	return hashWord(hashWord(hashSeed, uint64(ev.Net().Family)), uint64(ev.Net().Protocol))
}
func cookieSubject(ev *event.Event) uint64 { return hashWord(hashSeed, ev.Net().Cookie) }
func cgroupSubject(ev *event.Event) uint64 {
	if c := ev.Cgroup(); c != nil {
		return hashWord(hashSeed, c.Id)
	}
	return hashWord(hashSeed, ev.Fork().ChildCgroup)
}
