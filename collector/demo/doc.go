// SPDX-License-Identifier: Apache-2.0

// Package demo runs a small service in a namespace of its own in a Kubernetes cluster, sends it orders as customers do, and
// attacks it: what 'holdfast demo --kubernetes' shows is done here. It knows nothing of the collector; whoever uses it asks
// that what was seen.
//
// The service is a shell that reads orders from its standard input, with a mistake: it lets the shell read what a customer has
// written. So an attack comes from within, by the program that is supposed to run there, and needs no address that can be
// reached from outside: orders go through the API server, as kubectl attach does. All programs are those of the image, and
// everything that is contacted is the demo's own.
//
// A [Shop] owns one goroutine, which [Shop.Close] joins. Its functions are for one goroutine at a time.
package demo
