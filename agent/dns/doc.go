// SPDX-License-Identifier: Apache-2.0

// Package dns reads DNS messages as they stand in packets (RFC 1035): questions, response code, and the answers that
// tie names to addresses. It reads what others wrote, so every length and pointer is checked, every name is bounded and
// comes out in the escaped text form of the standard, and what is cut short is told from what is wrong.
//
// Walker visits a message without allocating; Parse gives one as a value; Streams puts together the messages of TCP
// connections from pieces. The package has no goroutines, I/O or clock. A value of its types serves one goroutine.
package dns
