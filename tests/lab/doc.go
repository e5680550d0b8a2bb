// SPDX-License-Identifier: Apache-2.0

// Package lab brings up a real container node on a development machine:
// containerd with its CRI plugin, runc, CNI pods on a bridge, images built
// from the machine's own Debian packages; no registry, no systemd, no Docker.
//
// Everything lives in private mount and network namespaces, in one temporary
// directory and below one cgroup directory, all named after the lab, so that
// several labs and the machine's own containerd do not meet. Inside, /run and
// /var/lib are empty tmpfs mounts, /sys/fs/bpf is a bpf file system of the
// lab's own and tracefs is mounted, so what an agent pins goes with the lab.
//
// A process called the holder owns the namespaces. It is this program,
// executed again, which is why every program that starts a lab calls
// [RunHolder] first:
//
//	func TestMain(m *testing.M) {
//		lab.RunHolder()
//		os.Exit(m.Run())
//	}
//
//	l, err := lab.New(lab.Config{})
//	err = l.Start(ctx)
//	defer l.Close()
//	err = l.Load(ctx, lab.Busybox)
//	pod, err := l.RunPod(ctx, lab.PodConfig{Namespace: "shop", Name: "web"})
//	c, err := pod.Run(ctx, lab.ContainerConfig{Name: "web", Image: lab.BusyboxImage, Command: []string{"sleep", "60"}})
//	out, err := c.Exec(ctx, "cat", "/etc/hostname")
//
// [Lab.Close] kills what runs in the lab, removes it and reports what could
// not be removed. The holder does the same when the program that started it
// dies, however it dies, and [Lab.Start] first clears labs whose holder was
// killed too.
//
// The lab needs root, cgroup2 mounted (alone or beside v1 hierarchies) and the
// Debian packages that [Missing] names. It opens no connection outside its
// network namespace and changes nothing in the machine's own.
//
// All methods of Lab, Pod and Container may be called from several goroutines
// at once, but Start and Close.
package lab
