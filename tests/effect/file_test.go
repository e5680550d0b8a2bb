// SPDX-License-Identifier: Apache-2.0

package effect

import "github.com/holdfast-project/holdfast/agent/wire"

// fileDeeds change what the profile lists for nobody, and read what it lists for another program. Everybody may do all below
// /tmp.
func fileDeeds() []deed {
	return append(changes(), reads()...)
}

func changes() []deed {
	why := because(wire.ReasonFile)
	return []deed{
		{name: "create a file", rows: "34, 45", script: "echo new > /data/new",
			effect: made("/data/new"), by: "create", why: why},
		{name: "make a folder", rows: "34", script: "/bin/mkdir /data/new",
			effect: made("/data/new"), by: "create", why: why},
		{name: "write to a file", rows: "33", script: "echo more >> " + dataFile,
			effect: changed, by: "open", why: why},
		{name: "write by openat2", rows: "33, e7", act: "write2",
			effect: changed, by: "open", why: why},
		{name: "write through io_uring", rows: "27, e1", act: "writering",
			effect: changed, by: "open", why: why},
		{name: "write through /proc/self/root", rows: "46, e7", script: "echo more >> /proc/self/root" + dataFile,
			effect: changed, by: "open", why: why},
		{name: "write through a symbolic link", rows: "40, e7", script: "/bin/ln -s " + dataFile + " /tmp/l; echo more >> /tmp/l",
			effect: changed, by: "open", why: why},
		{name: "write through a bind mount", rows: "50, e7", script: "/bin/mkdir /srv/m; /bin/mount -o bind /data /srv/m; echo more >> /srv/m/there",
			effect: changed, by: "open", why: why},
		{name: "cut a file", rows: "37", act: "truncate",
			effect: changed, by: "truncate", why: why},
		{name: "remove a file", rows: "37", script: "/bin/rm -f " + dataFile,
			effect: gone(dataFile), by: "unlink", why: why},
		{name: "remove a folder", rows: "37", script: "/bin/rmdir /data/folder",
			effect: gone("/data/folder"), by: "unlink", why: why},
		{name: "rename a file away", rows: "37, 43", script: "/bin/mv " + dataFile + " /tmp/x",
			effect: gone(dataFile), by: "rename", why: why},
		{name: "rename a file into place", rows: "33, 34, e7", script: "echo x > /tmp/x; /bin/mv -f /tmp/x " + dataFile,
			effect: changed, by: "rename", why: why},
		{name: "make a hard link", rows: "40", script: "echo x > /tmp/x; /bin/ln /tmp/x /data/new",
			effect: made("/data/new"), by: "link", why: why},
		{name: "make a symbolic link", rows: "40", script: "/bin/ln -s /tmp/x /data/new",
			effect: made("/data/new"), by: "symlink", why: why},
		{name: "change a mode", rows: "39", script: "/bin/chmod 4755 " + dataFile,
			effect: other, by: "chmod", why: why},
		{name: "change an owner", rows: "33", script: "/bin/chown 1000 " + dataFile,
			effect: other, by: "chown", why: why},
	}
}

func reads() []deed {
	why := because(wire.ReasonProtectedFile)
	const copied = " > " + stolenFile
	return []deed{
		{name: "read a protected file", rows: "29", script: "/bin/cat " + secretFile + copied,
			effect: stolen, by: "open", why: why},
		{name: "read it through /proc/self/root", rows: "46, e7", script: "/bin/cat /proc/self/root" + secretFile + copied,
			effect: stolen, by: "open", why: why},
		{name: "read it through a symbolic link", rows: "40, e7", script: "/bin/ln -s " + secretFile + " /tmp/l; /bin/cat /tmp/l" + copied,
			effect: stolen, by: "open", why: why},
		{name: "read it through a hard link", rows: "40, e7", script: "/bin/ln " + secretFile + " /tmp/l; /bin/cat /tmp/l" + copied,
			effect: stolen, by: "link", why: why},
		{name: "read it through a bind mount", rows: "50, e7", script: "echo > /tmp/m; /bin/mount -o bind " + secretFile + " /tmp/m; /bin/cat /tmp/m" + copied,
			effect: stolen, by: "open", why: why},
		{name: "read it under another name", rows: "e7", script: "/bin/mv " + secretFile + " /tmp/l; /bin/cat /tmp/l" + copied,
			effect: stolen, by: "rename", why: because(wire.ReasonFile)},
		{name: "read it by openat2", rows: "29, e7", act: "read2",
			effect: stolen, by: "open", why: why},
		{name: "read it through io_uring", rows: "27, e1", act: "readring",
			effect: stolen, by: "open", why: why},
	}
}
