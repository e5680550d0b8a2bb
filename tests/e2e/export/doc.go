// SPDX-License-Identifier: Apache-2.0

// Package export holds what rules/export writes against the real thing: a
// container that runs under a seccomp profile made of a profile.
//
// It is tests alone, and needs root.
package export
