// SPDX-License-Identifier: Apache-2.0

// Package identity tests container identity on real containers: the registry with its sources against a real containerd
// and its CRI plugin, in a lab. It has no code of its own but tests.
package identity
