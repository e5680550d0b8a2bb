// SPDX-License-Identifier: Apache-2.0

// Package export writes what an effective profile allows in the forms that
// others enforce: a Kubernetes NetworkPolicy, a CiliumNetworkPolicy, a seccomp
// profile.
//
// None of them can say all that a profile says. What they cannot say is not
// passed over: an entry is written as it is, or it is widened, or it is left
// out, and each that was widened or left out is a Note and a line of the
// comment at the head of the file. So is what was added so that the rest
// works. Nothing else is allowed by what is written. Options.Strict leaves out
// what would have to be widened.
//
// Policies of Kubernetes are about pods and select them by labels, which
// profiles do not hold: a Cluster knows them, from the objects that it was
// given.
//
// The package is pure: no goroutines, no I/O, no clock. Equal input gives
// equal bytes. What it is given it does not change.
package export
