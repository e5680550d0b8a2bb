// SPDX-License-Identifier: Apache-2.0

// Package policy turns a profile into what the kernel programs look up: keyed hashes of paths, argument shapes and names,
// prefixes of folders and of addresses (docs/policy.md). Compile makes a Set of a profile, Diff the changes between two
// sets; package enforce writes them to the maps. The package also has the Go side of the hash (bpf/include/hash.h is the
// other).
//
// The package is pure. A Hasher and a Set that is no longer written to may be used concurrently.
package policy
