// SPDX-License-Identifier: Apache-2.0

// Package content reads what inspected containers send and get: it joins the pieces that the kernel side takes with what
// puts them together (agent/inspect), what recognises values and attacks in them (rules/dlp, rules/waf), and what holds these
// against thresholds (agent/dlp), and gives findings with who it was.
//
// What goes out is looked through for sensitive values, the requests that a container serves for attacks. The package is
// pure: no goroutine, no input or output, and no clock but that of the pieces. A Reader serves one goroutine; from any
// other it may be told of files and of connections that have ended, and asked for its Stats and for what is Shown of a finding.
package content
