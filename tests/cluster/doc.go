// SPDX-License-Identifier: Apache-2.0

// Package cluster tests Holdfast in a real Kubernetes, which package lab brings
// up on the machine that the tests run on:
//
//	make test-cluster
//
// It is a module of its own, as are the folders below build: what they need is
// no dependency of the product.
package cluster
