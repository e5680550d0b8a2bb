// SPDX-License-Identifier: Apache-2.0

// Package kernel runs the project's kernel tests on several real kernels, each
// booted with BPF among its security modules and without. Its one test does what
//
//	go run ./tests/kernel/cmd/vmtest --pkg ./agent/sensor
//
// does for a single package while it is being developed. Package vm is the machinery,
// package guest helps the tests inside. The first run fetches the kernels, 120 MB.
package kernel
