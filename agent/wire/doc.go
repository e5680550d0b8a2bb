// SPDX-License-Identifier: Apache-2.0

// Package wire holds the Go side of bpf/include/wire.h: one Go type for each C struct and enum that crosses between the
// kernel programs and the agent, generated from BTF so that the layouts cannot drift. The C header documents every
// field. The package has no logic beyond naming; agent/event decodes records.
package wire

//go:generate go run ./gen clang-19 ../../bpf/wire.bpf.c types.go

// Version is WIRE_VERSION of the header that these types were generated from. Every object carries the one it was
// compiled with, and the loader refuses another.
const Version = 4
