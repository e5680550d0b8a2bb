// SPDX-License-Identifier: Apache-2.0

// Package pack has what images and packages are made of: programs with what they tell about how they were built, tar
// archives, and the bill of materials. The same programs give the same bytes, on every machine and for every user: what
// has a time has that of the commit, what has an order is sorted, and nothing else comes in.
//
// The package runs nothing and owns no goroutines.
package pack
