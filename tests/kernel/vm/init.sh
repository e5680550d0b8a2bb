#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The first process of a test machine. It runs twice: from the initial RAM file
# system, where it copies everything to a tmpfs and moves there (pivot_root and
# overlayfs work from a real root only), and then from that root, where it
# prepares the machine and runs /vm/run, whose output goes to the second serial
# port. The first serial port is the kernel's console.

if [ "$1" != prepared ]; then
	/bin/busybox mkdir -p /newroot
	/bin/busybox mount -t tmpfs -o size=75%,mode=755 tmpfs /newroot || exit 1
	for entry in /*; do
		case $entry in /newroot | /dev) continue ;; esac
		/bin/busybox cp -a "$entry" /newroot/ || exit 1
	done
	/bin/busybox mkdir -p /newroot/dev
	exec /bin/busybox switch_root /newroot /init prepared
fi

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /mnt /disk /usr/bin /usr/sbin /sbin /var/tmp
/bin/busybox --install -s
chmod 1777 /var/tmp

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
ln -s /proc/self/fd /dev/fd 2>/dev/null

results=/dev/ttyS1
stty -F $results raw -echo
echo "HFVM boot $(uname -r) $(cat /sys/kernel/security/lsm)" >$results

while read -r module; do
	modprobe "$module" 2>/run/modprobe.err || echo "HFVM module $module $(head -n 1 /run/modprobe.err)" >$results
done </vm/modules

hostname vm
ip link set lo up
# 5.10 charges BPF maps to this limit.
ulimit -l unlimited
echo 1 >/proc/sys/kernel/panic_on_oops
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
	echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
mkdir /sys/fs/cgroup/vmtest
mount -t ext4 /dev/vda /disk || echo "HFVM module ext4 cannot mount the disk" >$results

(
	echo 0 >/sys/fs/cgroup/vmtest/cgroup.procs
	exec </dev/null >$results 2>&1
	. /vm/run
)
echo "HFVM done" >$results
# The host ends the machine as soon as it has read the line above.
sleep 60
poweroff -f
