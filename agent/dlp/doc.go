// SPDX-License-Identifier: Apache-2.0

// Package dlp turns what was recognised in the content of connections, and what processes did with files and connections,
// into findings that a person can act on: sensitive values that left, in numbers that matter; data that was read and then
// sent to somewhere new; volumes that are not usual; tunnels in DNS and ICMP; attacks on servers that were followed by
// new behaviour.
//
// Each concern is a type of its own: Counter holds matches against thresholds, Lineage follows reads of labelled files
// through processes to where they send, Volume learns what is usual for a process and destination, Tunnels watches names
// and ICMP, Prints finds files again in what is sent, Attacks joins hits of the web application filter with what the server
// does next. They share Finding, and nothing else; a caller feeds those that it wants.
//
// The package is pure: no goroutine, no input or output, no clock. Times are nanoseconds of a clock that does not go back
// and come with what is told. Each type is for one goroutine, has bounds in its Config, and counts in its Stats what it
// gave up because of them.
package dlp
