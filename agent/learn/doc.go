// SPDX-License-Identifier: Apache-2.0

// Package learn grows the observed profile of each workload from what its containers do while they learn: what ran, by
// whom and how, what was read, written, contacted, listened on. docs/learning.md says what is learned, what is not, and
// why.
//
// The kernel programs send of a learning container what its policy does not list yet, and the learner writes that down as
// entries of a profile; what is listed is counted in the kernel and comes here as numbers (Hits). What was not done in
// the ordinary way — by a person in an exec session, by a program that is not the image's, during an incident — becomes a
// candidate, which allows nothing until somebody confirms it.
//
// The package is pure: no goroutines, no I/O, no clock. One goroutine owns a Learner; the profiles that it gives are
// never changed, and may go anywhere. Observe allocates nothing when there is nothing new.
package learn
