// SPDX-License-Identifier: Apache-2.0

// Package sensor loads the kernel programs, attaches the best that the kernel has for each signal, and reads their
// records. It hands records out in the order of the kernel's clock, from one goroutine, as bytes that agent/event
// decodes; it knows nothing of containers, rules or alerts.
//
// New loads, Start attaches, Run reads until its context ends, Close detaches. What is pinned outlives all four, and the
// next sensor goes on with it. The setters may be called from any goroutine between New and Close.
package sensor
