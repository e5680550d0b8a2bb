// SPDX-License-Identifier: Apache-2.0

// Package web measures what it adds to a web server that the agent reads what it sends and gets: nginx in a container, asked for
// pages over plain connections and over TLS, while its modes dlp and waf are off, and while they are monitor, in turns within one
// run. It prints requests a second, their ratio, the processor time of the server and of the agent for a request, and how much of
// what was sent and got was read. It has benchmarks only. They need root, and the machine to themselves as far as that can be had:
// the ratios of one run hold on a busy machine, the figures that they are made of do not.
package web
