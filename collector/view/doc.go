// SPDX-License-Identifier: Apache-2.0

// Package view gives alerts, events and nodes the JSON shape in which the outside sees them: the HTTP API, the CLI and
// whatever reads Falco's output. It turns messages of the agent contract into these shapes and nothing else: it holds no
// state, reads no clock and owns no goroutines.
//
// Shapes only grow: a field is never renamed, and never changes its type. Times are RFC 3339 with nanoseconds, in UTC.
// Durations and sizes carry their unit in the name. Numbers of 64 bits that identify something rather than count it (an
// epoch, a hash) are strings, because readers in JavaScript would round them.
package view
