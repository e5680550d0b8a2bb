// SPDX-License-Identifier: Apache-2.0

// Package cost counts the instructions that the kernel programs add to what a process does: exec, fork, open, connect,
// send, and a system call that nothing looks at. It runs in a machine whose clock counts instructions
// (vmtest --count), so that the figures repeat whatever else the host does, and prints them as a table beside those of
// a kernel without the programs. With HOLDFAST_COST_PROGRAMS=1 in the machine (vmtest --env) it prints the share of each
// program too; there, and in the columns "programs", each run counts some 50 instructions that the counting takes. It has
// tests only, and they carry the build tag "vm".
package cost
