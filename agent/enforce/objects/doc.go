// SPDX-License-Identifier: Apache-2.0

// Package objects embeds the compiled programs of bpf/ that package enforce runs, one loader function an object, generated
// by bpf2go. They are committed, so that a build needs no C compiler; a test regenerates them and compares.
package objects

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -no-global-types -target bpfel -go-package objects Apply ../../../bpf/apply.bpf.c -- -nostdinc -I../../../bpf/include -O2 -mcpu=v3 -Wall -Wextra -Werror
