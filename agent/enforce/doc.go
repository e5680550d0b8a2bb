// SPDX-License-Identifier: Apache-2.0

// Package enforce writes to the maps that the kernel programs take their verdicts from: the entries of policies, and which
// policy and modes hold for a container. docs/policy.md tells how.
//
// A set of entries is replaced so that every deed is judged wholly by the old or wholly by the new one: entries of both
// stand in the maps, each with the generation from which on it means something else, and the change of a container's
// generation, one store, puts the new set in force for that container. Containers of one policy follow one another; until
// the last has, entries serve both generations. What nobody reads any more is deleted after all programs that might be
// reading it have ended.
//
// An Enforcer may be used concurrently. Run owns no goroutine but its caller's. The package keeps no state outside the maps
// that it could not read back from them: New does, so that an agent can be replaced while the programs go on.
package enforce
