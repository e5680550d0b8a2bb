// SPDX-License-Identifier: Apache-2.0

// Package vm runs test binaries on real kernels in virtual machines.
//
// A Cache fetches Debian's cloud kernels with apt (which verifies their
// signatures) and keeps them. A Payload is what goes into the machine beside the
// kernel: test binaries, files and the commands to run. Boot starts one machine
// for one kernel and one list of security modules, under QEMU's TCG so that it
// works on any machine, and returns what the tests printed, parsed. A Report
// joins the results of many machines to tables and a verdict.
//
// Only x86-64 guests exist. Nothing here measures time: under emulation it means
// nothing. The package owns no goroutine beyond a call: Boot reads the two serial
// ports in goroutines that it joins, and QEMU is dead when Boot returns.
//
// # In the machine
//
// The machine has two processors, 2 GiB, no network device but loopback, a tmpfs
// root (a real mount: pivot_root works), tmpfs on /tmp and /run, an empty ext4
// file system on /disk, cgroup2 with every controller enabled on /sys/fs/cgroup,
// and bpffs, tracefs, debugfs and securityfs in their usual places. Busybox
// provides the commands. Tests run as root in the cgroup /vmtest with an unlimited
// RLIMIT_MEMLOCK. The modules of Modules are present; those that tests need
// without asking for them are loaded, and the kernel loads the others on demand.
//
// # Protocol
//
// The guest writes to its second serial port the output of the programs and,
// between it, lines of its own: "HFVM boot RELEASE LSMS", "HFVM module NAME ERROR",
// "HFVM run N NAME", "HFVM exit N STATUS" and "HFVM done". Test binaries run with
// -test.v=test2json, so that their framing lines begin with a control character
// and what a test prints cannot be taken for them.
package vm
