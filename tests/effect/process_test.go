// SPDX-License-Identifier: Apache-2.0

package effect

import "github.com/holdfast-project/holdfast/agent/wire"

const intruder = "/usr/bin/intruder"

// processDeeds run what the profile does not list, or otherwise than it lists it.
func processDeeds() []deed {
	const dropped = "/bin/cp " + intruder + " /tmp/x; "
	var (
		executable = because(wire.ReasonExecutable)
		drift      = because(wire.ReasonDrift)
		fileless   = because(wire.ReasonFileless)
		arguments  = because(wire.ReasonArguments)
		library    = because(wire.ReasonLibrary)
	)
	return []deed{
		{name: "a program of the image that is not listed", rows: "1", script: intruder,
			effect: marked, by: "execute", why: executable},
		{name: "a dropped program", rows: "3, 4, 6", script: dropped + "/tmp/x",
			effect: marked, by: "execute", why: drift},
		{name: "a program renamed onto a listed one", rows: "18, e7, e8", script: dropped + "/bin/mv /tmp/x /bin/true; /bin/true",
			effect: marked, by: "execute", why: drift},
		{name: "a listed program overwritten", rows: "3, 33", script: "/bin/cat " + intruder + " > /bin/true; /bin/true",
			effect: marked, by: "execute", why: drift},
		{name: "a hard link under a listed name", rows: "40, e7", script: "/bin/ln -f " + intruder + " /bin/true; /bin/true",
			effect: marked, by: "execute", why: drift},
		{name: "a bind mount onto a listed program", rows: "50, e7", script: "/bin/mount -o bind " + intruder + " /bin/true; /bin/true",
			effect: marked, by: "execute", why: executable},
		{name: "a symbolic link under a listed name", rows: "e7", script: "/bin/ln -sf " + intruder + " /bin/true; /bin/true",
			effect: marked, by: "execute", why: executable},
		{name: "a path through /proc/self/root", rows: "46, e7", script: "/proc/self/root" + intruder,
			effect: marked, by: "execute", why: executable},
		{name: "a program in memory", rows: "5, e3", act: "memory",
			effect: marked, by: "execute", why: fileless},
		{name: "a program whose file is deleted", rows: "4, e3", act: "deleted",
			effect: marked, by: "execute", why: fileless},
		{name: "a program on a volume", rows: "4", script: "/bin/mkdir /tmp/v; /bin/mount -t tmpfs v /tmp/v; /bin/cp " + intruder + " /tmp/v/true; /tmp/v/true",
			effect: marked, by: "execute", why: executable},
		{name: "ld.so with a program to load", rows: "7, e5", script: loader + " /usr/bin/stranger",
			effect: marked, by: "execute", why: executable},
		{name: "an interpreter with other code (-c)", rows: "11", script: "/bin/ash -c 'echo > " + ranMark + "'",
			effect: marked, by: "arguments", why: arguments},
		{name: "an interpreter with another script", rows: "12, e4", script: "/bin/ash /srv/other.sh",
			effect: marked, by: "arguments", why: arguments},
		{name: "an interpreter that reads its input", rows: "11", script: "echo 'echo > " + ranMark + "' | /bin/ash",
			effect: marked, by: "arguments", why: arguments},
		{name: "a script whose interpreter is not listed", rows: "1, e4", script: "/srv/awk",
			effect: marked, by: "execute", why: executable},
		{name: "a listed program by another parent", rows: "1, 13", script: "/usr/bin/login",
			effect: marked, by: "execute", why: because(wire.ReasonParent)},
		{name: "a listed program with other arguments", rows: "2", act: "exec /usr/bin/tool --job=1 --to=evil",
			effect: marked, by: "arguments", why: arguments},
		{name: "a program in another root", rows: "53, e11", script: "/bin/mkdir /tmp/r; /bin/mount -o bind / /tmp/r; /bin/chroot /tmp/r " + intruder,
			effect: marked, by: "execute", why: executable},
		{name: "a program in a nested container", rows: "53, e11, e12",
			script: dropped + "/bin/unshare -m -p -f /bin/sh -c '/bin/mount -o bind /tmp/x /bin/true; /bin/true'",
			effect: marked, by: "execute", why: drift},
		{name: "a program after leaving the cgroup", rows: "54, e11", act: "moved " + intruder, files: elsewhereList,
			effect: marked, by: "execute", why: executable},
		{name: "a program born in another cgroup", rows: "54, e11", act: "born " + intruder, files: elsewhere,
			effect: marked, by: "execute", why: executable},
		{name: "a program of the host through setns", rows: "46, 52, e12", act: "host", files: visitor,
			effect: marked, by: "execute", why: executable},
		{name: "LD_PRELOAD of a dropped library", rows: "8, 9, e5", script: "/bin/cp /usr/bin/library.so /tmp/library.so; LD_PRELOAD=/tmp/library.so /usr/bin/linked",
			effect: marked, by: "mmap_exec", why: library},
		{name: "a library on a volume", rows: "8, e5",
			script: "/bin/mkdir /tmp/v; /bin/mount -t tmpfs v /tmp/v; /bin/cp /usr/bin/library.so /tmp/v/l.so; LD_PRELOAD=/tmp/v/l.so /usr/bin/linked",
			effect: marked, by: "mmap_exec", why: library},
		{name: "a mapping made executable later", rows: "8, 10, e6", script: "/bin/cp /usr/bin/library.so /tmp/library.so; " + actVariable + "=later exec /srv/service -test.run=^TestAct$",
			effect: marked, by: "mmap_exec", why: library, unseen: "those that become executable later"},
	}
}
