// SPDX-License-Identifier: Apache-2.0

// Package exfil tells agent/dlp what containers do, of those whose sensitive data is watched: who runs what, which labelled
// files are read, which names are asked for, how much is sent where, and what of it a workload's profile does not list. It
// gives the findings that follow from that, which are about deeds; those about content come from agent/content, and the
// two meet here: an attack in a request with what the server does next, a labelled file in what is sent with who had
// read it.
//
// The package is pure: no goroutine, no input or output, and no clock but that of the events. A Joiner serves the goroutine
// that serves the events; its Stats may be read from any. A Labels is read-only once it is made.
package exfil
